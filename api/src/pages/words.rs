//! What the pages say, in Spanish, English and Portuguese, as the mails that lead to them do.

use accounts::{PASSWORD_LENGTH, role_name};
use domain::{DomainError, ErrorKind, Lang, Role};

/// In Spanish, English and Portuguese.
pub(super) type Words = (&'static str, &'static str, &'static str);

pub(super) const VERIFY: Words =
    ("Confirma tu correo", "Confirm your e-mail address", "Confirme seu e-mail");
pub(super) const VERIFY_TEXT: Words = (
    "¿Es tuya esta dirección? Confírmala con el botón.",
    "Is this address yours? Confirm it with the button.",
    "Este endereço é seu? Confirme com o botão.",
);
pub(super) const VERIFY_BUTTON: Words =
    ("Confirmar el correo", "Confirm the address", "Confirmar o e-mail");
pub(super) const VERIFIED: Words = ("Correo confirmado", "Address confirmed", "E-mail confirmado");
pub(super) const RESET: Words =
    ("Elige una contraseña nueva", "Choose a new password", "Escolha uma nova senha");
pub(super) const RESET_BUTTON: Words =
    ("Cambiar la contraseña", "Change the password", "Mudar a senha");
pub(super) const RESET_DONE: Words = ("Contraseña cambiada", "Password changed", "Senha alterada");
pub(super) const RESET_DONE_TEXT: Words = (
    "Se cerraron todas tus sesiones. Entra con la contraseña nueva.",
    "All of your sessions have ended. Sign in with the new password.",
    "Todas as suas sessões terminaram. Entre com a nova senha.",
);
pub(super) const INVITATION: Words = ("Te invitan", "You are invited", "Você recebeu um convite");
pub(super) const NEW_ACCOUNT: Words = (
    "Para aceptar, crea tu cuenta: di cómo te llamas y elige una contraseña.",
    "To accept, make your account: say your name and choose a password.",
    "Para aceitar, crie a sua conta: diga o seu nome e escolha uma senha.",
);
pub(super) const KNOWN_ACCOUNT: Words = (
    "Ya tienes una cuenta con esta dirección. Para aceptar, escribe su contraseña.",
    "You have an account with this address. To accept, give its password.",
    "Você já tem uma conta com este endereço. Para aceitar, escreva a senha dela.",
);
pub(super) const ACCEPT_BUTTON: Words =
    ("Aceptar la invitación", "Accept the invitation", "Aceitar o convite");
pub(super) const ACCEPTED: Words = ("Invitación aceptada", "Invitation accepted", "Convite aceito");
pub(super) const SIGN_IN: Words = (
    "Entra con tu correo y tu contraseña.",
    "Sign in with your e-mail address and your password.",
    "Entre com o seu e-mail e a sua senha.",
);
pub(super) const CLOSE: Words = (
    "Ya puedes cerrar esta página.",
    "You can close this page.",
    "Você já pode fechar esta página.",
);
pub(super) const IDENTITY: Words =
    ("Identidad confirmada", "Identity confirmed", "Identidade confirmada");
pub(super) const NO_SESSION: Words = (
    "Esta página no abre ninguna sesión.",
    "This page opens no session.",
    "Esta página não abre nenhuma sessão.",
);
pub(super) const CODE_TOO: Words = (
    "Para entrar, tu cuenta pide además un código del segundo factor.",
    "To sign in, your account also asks for a code of the second factor.",
    "Para entrar, a sua conta pede também um código do segundo fator.",
);

pub(super) const EMAIL_LABEL: Words = ("Correo", "E-mail address", "E-mail");
pub(super) const NAME_LABEL: Words = ("Nombre", "Name", "Nome");
pub(super) const PASSWORD_LABEL: Words = ("Contraseña", "Password", "Senha");
pub(super) const NEW_PASSWORD_LABEL: Words = ("Contraseña nueva", "New password", "Nova senha");
pub(super) const CODE_LABEL: Words =
    ("Código del segundo factor", "Code of the second factor", "Código do segundo fator");
pub(super) const CODE_HINT: Words = (
    "De tu aplicación, o uno de recuperación.",
    "Of your app, or a recovery code.",
    "Do seu aplicativo, ou um de recuperação.",
);

/// The words of a language; those of the product's first for one that it does not speak.
pub(super) fn pick(language: Lang, (es, en, pt): Words) -> &'static str {
    match language {
        Lang::Es | Lang::Other => es,
        Lang::En => en,
        Lang::Pt => pt,
    }
}

/// Who asks whom to be what, and where.
pub(super) fn invited(language: Lang, by: Option<&str>, workspace: &str, role: Role) -> String {
    let role = role_name(role, language);
    match (language, by) {
        (Lang::Es | Lang::Other, Some(by)) => {
            format!("{by} te invita al espacio {workspace} en Vocero, como {role}.")
        }
        (Lang::Es | Lang::Other, None) => {
            format!("Te invitan al espacio {workspace} en Vocero, como {role}.")
        }
        (Lang::En, Some(by)) => {
            format!("{by} invites you to the workspace {workspace} on Vocero, as {role}.")
        }
        (Lang::En, None) => {
            format!("You are invited to the workspace {workspace} on Vocero, as {role}.")
        }
        (Lang::Pt, Some(by)) => {
            format!("{by} convidou você para o espaço {workspace} no Vocero, como {role}.")
        }
        (Lang::Pt, None) => {
            format!("Você foi convidado para o espaço {workspace} no Vocero, como {role}.")
        }
    }
}

/// What somebody is now, and where.
pub(super) fn joined(language: Lang, workspace: &str, role: Role) -> String {
    let role = role_name(role, language);
    match language {
        Lang::Es | Lang::Other => format!("Ya formas parte del espacio {workspace}, como {role}."),
        Lang::En => format!("You are now in the workspace {workspace}, as {role}."),
        Lang::Pt => format!("Agora você faz parte do espaço {workspace}, como {role}."),
    }
}

/// Whom the identity provider has vouched for.
pub(super) fn vouched_for(language: Lang, email: &str) -> String {
    match language {
        Lang::Es | Lang::Other => {
            format!("Tu cuenta en Vocero es {email}, y puedes entrar a ella con este proveedor.")
        }
        Lang::En => {
            format!("Your account on Vocero is {email}, and you can sign in to it this way.")
        }
        Lang::Pt => {
            format!("A sua conta no Vocero é {email}, e você pode entrar nela por este provedor.")
        }
    }
}

/// What a password must be.
pub(super) fn password_rule(language: Lang) -> String {
    let (least, most) = PASSWORD_LENGTH;
    match language {
        Lang::Es | Lang::Other => {
            format!("De {least} a {most} caracteres, y que no sea tu correo.")
        }
        Lang::En => format!("{least} to {most} characters, and not your e-mail address."),
        Lang::Pt => format!("De {least} a {most} caracteres, e que não seja o seu e-mail."),
    }
}

/// The title of a page that says why there is nothing to do.
pub(super) fn trouble(error: &DomainError) -> Words {
    match error.kind {
        ErrorKind::NotFound | ErrorKind::Conflict => {
            ("Este enlace no sirve", "This link cannot be used", "Este link não serve")
        }
        _ => ("No se pudo hacer", "It could not be done", "Não foi possível"),
    }
}

/// The field that an error is about.
pub(super) fn blamed(error: &DomainError) -> Option<&str> {
    match error.code {
        "WRONG_CREDENTIALS" => Some("password"),
        "WRONG_CODE" | "CHALLENGE_OVER" => Some("code"),
        _ => error.field.as_deref(),
    }
}

/// What went wrong and what to do, for people.
pub(super) fn problem(error: &DomainError, language: Lang) -> String {
    if matches!(error.field.as_deref(), Some("password" | "newPassword")) {
        let refused =
            ("La contraseña no sirve.", "That password is not accepted.", "A senha não serve.");
        return format!("{} {}", pick(language, refused), password_rule(language));
    }
    pick(language, reason(error)).to_owned()
}

fn reason(error: &DomainError) -> Words {
    let of_code = link_reason(error.code).or_else(|| account_reason(error.code));
    of_code.unwrap_or(match error.kind {
        ErrorKind::NotFound => (
            "No existe o está incompleto. Ábrelo desde el correo, o cópialo entero.",
            "It does not exist or is not whole. Open it from the mail, or copy all of it.",
            "Ele não existe ou está incompleto. Abra-o a partir do e-mail, ou copie-o inteiro.",
        ),
        ErrorKind::Conflict | ErrorKind::Stale => (
            "Algo cambió mientras tanto. Abre el enlace de nuevo.",
            "Something has changed meanwhile. Open the link again.",
            "Algo mudou nesse meio-tempo. Abra o link de novo.",
        ),
        ErrorKind::RateLimited => (
            "Son demasiados intentos. Espera un rato y prueba de nuevo.",
            "These were too many attempts. Wait for a while and try again.",
            "Foram tentativas demais. Espere um pouco e tente de novo.",
        ),
        ErrorKind::Unavailable | ErrorKind::Internal => (
            "Algo falló de nuestro lado. Prueba de nuevo en un momento.",
            "Something went wrong on our side. Try again in a moment.",
            "Algo deu errado do nosso lado. Tente de novo daqui a pouco.",
        ),
        ErrorKind::Forbidden => (
            "El formulario llegó desde otro sitio. Abre el enlace del correo y envíalo desde ahí.",
            "The form came from another site. Open the link of the mail and send it from there.",
            "O formulário veio de outro site. Abra o link do e-mail e envie-o de lá.",
        ),
        _ => (
            "No se entendió lo que llegó. Empieza de nuevo.",
            "What came was not understood. Begin again.",
            "Não se entendeu o que chegou. Comece de novo.",
        ),
    })
}

/// Why a link or an invitation is over.
fn link_reason(code: &str) -> Option<Words> {
    Some(match code {
        "LINK_USED" => (
            "Ya se usó, o se usó otro posterior. Si aún lo necesitas, pide otro.",
            "It was used already, or a later one was. If you still need one, ask for another.",
            "Ele já foi usado, ou um posterior foi. Se ainda precisar, peça outro.",
        ),
        "LINK_EXPIRED" => {
            ("Venció. Pide otro.", "It has expired. Ask for another.", "Ele venceu. Peça outro.")
        }
        "INVITATION_ACCEPTED" => (
            "La invitación ya se aceptó. Entra con tu cuenta.",
            "The invitation was accepted already. Sign in with your account.",
            "O convite já foi aceito. Entre com a sua conta.",
        ),
        "INVITATION_REVOKED" => (
            "La invitación se retiró. Pide otra a quien te invitó.",
            "The invitation was taken back. Ask who invited you for another.",
            "O convite foi retirado. Peça outro a quem convidou você.",
        ),
        "INVITATION_EXPIRED" => (
            "La invitación venció. Pide otra a quien te invitó.",
            "The invitation has expired. Ask who invited you for another.",
            "O convite venceu. Peça outro a quem convidou você.",
        ),
        "ALREADY_MEMBER" => (
            "Ya formas parte de este espacio. Entra con tu cuenta.",
            "You are in this workspace already. Sign in with your account.",
            "Você já faz parte deste espaço. Entre com a sua conta.",
        ),
        _ => return None,
    })
}

/// Why somebody is not who they say, or may not come in.
fn account_reason(code: &str) -> Option<Words> {
    Some(match code {
        "INVALID_PARAMETER" => (
            "Falta un dato o tiene algo que no se acepta: revísalo.",
            "Something is missing or not accepted: look at it again.",
            "Falta algo ou há algo que não é aceito: reveja.",
        ),
        "WRONG_CREDENTIALS" => {
            ("La contraseña no es correcta.", "The password is wrong.", "A senha está incorreta.")
        }
        "SECOND_FACTOR_REQUIRED" => (
            "Tu cuenta pide además un código. Escribe otra vez la contraseña, y el código.",
            "Your account also asks for a code. Give the password once more, and the code.",
            "A sua conta pede também um código. Escreva de novo a senha, e o código.",
        ),
        "WRONG_CODE" => (
            "El código no es correcto o ya se usó.",
            "The code is wrong or was used already.",
            "O código está incorreto ou já foi usado.",
        ),
        "CHALLENGE_OVER" => (
            "Tardó demasiado. Escribe otra vez la contraseña y el código.",
            "It took too long. Give the password and the code once more.",
            "Demorou demais. Escreva de novo a senha e o código.",
        ),
        "SIGN_IN_FAILED" => (
            "No se pudo confirmar tu identidad. Empieza de nuevo.",
            "Your identity could not be confirmed. Begin again.",
            "Não foi possível confirmar a sua identidade. Comece de novo.",
        ),
        "EMAIL_NOT_VERIFIED" => (
            "El proveedor no confirma tu correo. Verifícalo allí primero.",
            "The provider does not vouch for your e-mail address. Verify it there first.",
            "O provedor não confirma o seu e-mail. Verifique-o lá primeiro.",
        ),
        "REGISTRATION_CLOSED" => (
            "Aquí solo entra quien fue invitado. Pide una invitación.",
            "Only the invited come in here. Ask for an invitation.",
            "Aqui só entra quem foi convidado. Peça um convite.",
        ),
        "NOT_CONFIGURED" => (
            "Aquí no se entra con otro proveedor.",
            "There is no signing in with another provider here.",
            "Aqui não se entra por outro provedor.",
        ),
        _ => return None,
    })
}
