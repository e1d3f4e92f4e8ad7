#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

use sqlx::migrate::Migrator;

/// The schema of SQLite.
pub static SQLITE: Migrator = sqlx::migrate!("./sqlite");

/// The schema of PostgreSQL.
pub static POSTGRES: Migrator = sqlx::migrate!("./postgres");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_databases_have_the_same_steps() {
        let steps = |migrator: &Migrator| -> Vec<_> {
            migrator.iter().map(|step| (step.version, step.description.clone())).collect()
        };
        assert!(!steps(&SQLITE).is_empty());
        assert_eq!(steps(&SQLITE), steps(&POSTGRES));
    }
}
