//! What mails say, in Spanish, English and Portuguese: as plain text, and as simple HTML in which every value is escaped.

use domain::user::{Invitation, Link, LinkPurpose};
use domain::{Lang, Role};

use super::Letter;

/// The pieces of a mail: what comes before its link and after it.
struct Words {
    subject: String,
    before: Vec<String>,
    button: &'static str,
    after: String,
}

/// Asks somebody to join a workspace.
pub(super) fn invitation(
    invitation: &Invitation,
    by: &str,
    workspace: &str,
    link: String,
) -> Letter {
    let role = role_name(invitation.role, invitation.language);
    let words = match invitation.language {
        Lang::Pt => Words {
            subject: format!("{by} convidou você para {workspace}"),
            before: vec![
                "Olá:".to_owned(),
                format!("{by} convidou você para o espaço {workspace} no Vocero, como {role}."),
            ],
            button: "Aceitar o convite",
            after: "O convite vale por 7 dias. Se você não o esperava, ignore esta mensagem."
                .to_owned(),
        },
        Lang::En => Words {
            subject: format!("{by} invites you to {workspace}"),
            before: vec![
                "Hello,".to_owned(),
                format!("{by} invites you to the workspace {workspace} on Vocero, as {role}."),
            ],
            button: "Accept the invitation",
            after:
                "The invitation is good for 7 days. If you did not expect it, ignore this message."
                    .to_owned(),
        },
        Lang::Es | Lang::Other => Words {
            subject: format!("{by} te invita a {workspace}"),
            before: vec![
                "Hola:".to_owned(),
                format!("{by} te invita al espacio {workspace} en Vocero, como {role}."),
            ],
            button: "Aceptar la invitación",
            after: "La invitación vale 7 días. Si no la esperabas, ignora este mensaje.".to_owned(),
        },
    };
    words.letter(&invitation.email, invitation.language, link)
}

/// Sends somebody a link to verify their address or to choose another password.
pub(super) fn link(found: &Link, name: &str, link: String) -> Letter {
    let words = match found.purpose {
        LinkPurpose::Verify => verify(found.language, name),
        LinkPurpose::Reset => reset(found.language, name),
    };
    words.letter(&found.email, found.language, link)
}

fn verify(language: Lang, name: &str) -> Words {
    match language {
        Lang::Pt => Words {
            subject: "Confirme seu e-mail".to_owned(),
            before: vec![format!("Olá, {name}:"), "Confirme que este endereço é seu.".to_owned()],
            button: "Confirmar o e-mail",
            after: "O link vale por 7 dias. Se você não criou uma conta no Vocero, ignore esta mensagem.".to_owned(),
        },
        Lang::En => Words {
            subject: "Confirm your e-mail address".to_owned(),
            before: vec![format!("Hello {name},"), "Confirm that this address is yours.".to_owned()],
            button: "Confirm the address",
            after: "The link is good for 7 days. If you have not made an account on Vocero, ignore this message.".to_owned(),
        },
        Lang::Es | Lang::Other => Words {
            subject: "Confirma tu correo".to_owned(),
            before: vec![format!("Hola, {name}:"), "Confirma que esta dirección es tuya.".to_owned()],
            button: "Confirmar el correo",
            after: "El enlace vale 7 días. Si no creaste una cuenta en Vocero, ignora este mensaje.".to_owned(),
        },
    }
}

fn reset(language: Lang, name: &str) -> Words {
    match language {
        Lang::Pt => Words {
            subject: "Escolha uma nova senha".to_owned(),
            before: vec![
                format!("Olá, {name}:"),
                "Alguém pediu uma nova senha para a sua conta no Vocero.".to_owned(),
            ],
            button: "Escolher uma nova senha",
            after: "O link vale por 1 hora e serve uma única vez. Se não foi você, ignore esta mensagem: a sua senha continua a mesma.".to_owned(),
        },
        Lang::En => Words {
            subject: "Choose a new password".to_owned(),
            before: vec![
                format!("Hello {name},"),
                "Somebody asked for a new password for your account on Vocero.".to_owned(),
            ],
            button: "Choose a new password",
            after: "The link is good for 1 hour, and once. If it was not you, ignore this message: your password stays as it is.".to_owned(),
        },
        Lang::Es | Lang::Other => Words {
            subject: "Elige una contraseña nueva".to_owned(),
            before: vec![
                format!("Hola, {name}:"),
                "Alguien pidió una contraseña nueva para tu cuenta en Vocero.".to_owned(),
            ],
            button: "Elegir una contraseña nueva",
            after: "El enlace vale 1 hora y sirve una sola vez. Si no fuiste tú, ignora este mensaje: tu contraseña sigue igual.".to_owned(),
        },
    }
}

/// What a role is called within a sentence: `como agente`, `as an agent`.
pub fn role_name(role: Role, language: Lang) -> &'static str {
    let (es, en, pt) = match role {
        Role::Viewer => ("lector", "a viewer", "leitor"),
        Role::Agent => ("agente", "an agent", "agente"),
        Role::Admin => ("administrador", "an administrator", "administrador"),
        Role::Owner => ("propietario", "an owner", "proprietário"),
    };
    match language {
        Lang::Es | Lang::Other => es,
        Lang::En => en,
        Lang::Pt => pt,
    }
}

impl Words {
    fn letter(self, to: &str, language: Lang, link: String) -> Letter {
        let Self { subject, before, button, after } = self;
        let text = format!("{}\n\n{link}\n\n{after}\n", before.join("\n\n"));
        let paragraphs: Vec<String> =
            before.iter().map(|line| format!("<p>{}</p>", escaped(line))).collect();
        let html = format!(
            "<!doctype html>\n<html lang=\"{}\">\n<body style=\"font-family: sans-serif; line-height: 1.5\">\n{}\n\
             <p><a href=\"{}\">{button}</a></p>\n<p>{}</p>\n</body>\n</html>\n",
            language.code(),
            paragraphs.join("\n"),
            escaped(&link),
            escaped(&after),
        );
        // A header is one line, whatever a workspace is called.
        let subject = subject.split_whitespace().collect::<Vec<_>>().join(" ");
        Letter { to: to.to_owned(), subject, text, html, link }
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use domain::{Ambient, Timestamp};

    use super::*;

    fn invited(language: Lang) -> Letter {
        let ambient = Ambient::system();
        let at = Timestamp::from_micros(0);
        let row = Invitation {
            id: ambient.new_id(),
            workspace_id: ambient.new_id(),
            email: "eva@ejemplo.com".to_owned(),
            role: Role::Agent,
            invited_by: None,
            language,
            sent: 1,
            created_at: at,
            expires_at: at,
            accepted_at: None,
            revoked_at: None,
        };
        invitation(&row, "Ana <b>", "Sol & Mar\r\nBcc: x", "https://x/invitations/1".to_owned())
    }

    #[test]
    fn a_mail_is_in_the_language_of_its_reader_and_has_its_link_in_both_parts() {
        for (language, word) in
            [(Lang::Es, "te invita"), (Lang::En, "invites you"), (Lang::Pt, "convidou")]
        {
            let letter = invited(language);
            assert!(letter.subject.contains(word) && letter.text.contains(word), "{letter:?}");
            for part in [&letter.text, &letter.html] {
                assert!(part.contains("https://x/invitations/1"), "{part}");
            }
        }
    }

    #[test]
    fn names_are_no_markup_and_no_headers() {
        let letter = invited(Lang::Es);
        assert!(letter.html.contains("Ana &lt;b&gt;") && !letter.html.contains("Ana <b>"));
        assert!(letter.html.contains("Sol &amp; Mar"));
        assert!(!letter.subject.contains(['\r', '\n']), "{}", letter.subject);
    }
}
