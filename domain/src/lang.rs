//! The languages that the product analyses text in.

use std::fmt;
use std::str::FromStr;

/// A language with its own stemmer and stop words; everything else is `Other` and is only folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Lang {
    /// Spanish, the first language of the product.
    #[default]
    Es,
    /// English.
    En,
    /// Portuguese.
    Pt,
    /// Any other language: folded, neither stemmed nor stripped of stop words.
    Other,
}

impl Lang {
    /// The languages that people can choose.
    pub const KNOWN: [Self; 3] = [Self::Es, Self::En, Self::Pt];

    /// ISO 639-1 code; `und` for other languages.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Es => "es",
            Self::En => "en",
            Self::Pt => "pt",
            Self::Other => "und",
        }
    }
}

impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A code that names none of the languages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown language; use es, en or pt")]
pub struct UnknownLang;

impl FromStr for Lang {
    type Err = UnknownLang;

    /// Reads a code, with or without a region (`es-CL`), in any case.
    fn from_str(text: &str) -> Result<Self, UnknownLang> {
        let primary = text.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
        match primary.as_str() {
            "es" => Ok(Self::Es),
            "en" => Ok(Self::En),
            "pt" => Ok(Self::Pt),
            "und" => Ok(Self::Other),
            _ => Err(UnknownLang),
        }
    }
}
