//! What people are told of errors, in their language: the messages that name nothing of the request.
//!
//! In English an error is told in its own words, which may say more. Codes whose messages name what they are about (a budget,
//! a field, a member) are not here.

use domain::Lang;

/// No token of a person and no API key.
pub(crate) const NOT_SIGNED_IN: &str = "not signed in, or no longer; sign in again";
/// No key of a site.
pub(crate) const NO_SITE_KEY: &str = "the site key is missing; send it as `x-site-key`";
/// A key that no site has.
pub(crate) const WRONG_SITE_KEY: &str =
    "no site has this key; send the one of the project as `x-site-key`";
/// No token of a visitor, or one that does not hold.
pub(crate) const NO_VISITOR: &str = "the visitor token is missing or holds no longer; get one with POST /v1/widget/init and send it as `x-visitor-token`";

/// Codes of errors that blame a field although they say nothing else of the request.
const OF_A_FIELD: [&str; 4] = ["ALREADY_INVITED", "EMAIL_TAKEN", "NAME_TAKEN", "SHORTCUT_TAKEN"];

/// A code, or a message where one code has several, with what it says in Spanish, English and Portuguese.
type Entry = (&'static str, [&'static str; 3]);

const MESSAGES: [Entry; 62] = [
    ("UNAUTHORIZED", ["API key inválida", "invalid API key", "API key inválida"]),
    (
        NOT_SIGNED_IN,
        [
            "No ha iniciado sesión o ya terminó; vuelva a entrar",
            NOT_SIGNED_IN,
            "Não há sessão ou ela terminou; entre de novo",
        ],
    ),
    (
        NO_SITE_KEY,
        [
            "Falta la clave del sitio; envíela como `x-site-key`",
            NO_SITE_KEY,
            "Falta a chave do site; envie-a como `x-site-key`",
        ],
    ),
    (
        WRONG_SITE_KEY,
        [
            "Ningún sitio tiene esta clave; envíe la del proyecto como `x-site-key`",
            WRONG_SITE_KEY,
            "Nenhum site tem esta chave; envie a do projeto como `x-site-key`",
        ],
    ),
    (
        NO_VISITOR,
        [
            "Falta el token del visitante o ya no vale; obtenga uno con POST /v1/widget/init y envíelo como `x-visitor-token`",
            NO_VISITOR,
            "Falta o token do visitante ou ele não vale mais; obtenha um com POST /v1/widget/init e envie-o como `x-visitor-token`",
        ],
    ),
    (
        "AGENT_PAUSED",
        [
            "El agente está en pausa o archivado y no responde; actívelo",
            "the agent is paused or archived and does not answer; set its status to active",
            "O agente está em pausa ou arquivado e não responde; ative-o",
        ],
    ),
    (
        "ALREADY_INVITED",
        [
            "Esa dirección ya está invitada; reenvíe esa invitación o retírela",
            "the address is invited already; send that invitation again, or take it back",
            "Esse endereço já foi convidado; reenvie o convite ou retire-o",
        ],
    ),
    (
        "ALREADY_MEMBER",
        [
            "La persona ya es miembro del espacio de trabajo",
            "the person is a member of the workspace already",
            "A pessoa já é membro do espaço de trabalho",
        ],
    ),
    (
        "ANSWER_FAILED",
        [
            "No se pudo escribir la respuesta; envíe de nuevo el mensaje con el mismo `clientMessageId`",
            "the answer could not be written; send the message again with the same `clientMessageId`",
            "Não foi possível escrever a resposta; envie a mensagem de novo com o mesmo `clientMessageId`",
        ],
    ),
    (
        "BLOCKED",
        [
            "No podemos recibir mensajes en este chat; por favor contáctenos por otro medio",
            "we cannot take messages in this chat; please contact us in another way",
            "Não podemos receber mensagens neste chat; entre em contato por outro meio",
        ],
    ),
    (
        "CHALLENGE_OVER",
        [
            "Pasó demasiado tiempo o hubo demasiados códigos equivocados; vuelva a entrar",
            "it took too long or too many wrong codes came; sign in again",
            "Demorou demais ou houve códigos errados demais; entre de novo",
        ],
    ),
    (
        "CONVERSATION_BUSY",
        [
            "Aún se están respondiendo mensajes anteriores de esta conversación; vuelva a intentarlo en un momento",
            "earlier messages of this conversation are still being answered; try again shortly",
            "Mensagens anteriores desta conversa ainda estão sendo respondidas; tente de novo em instantes",
        ],
    ),
    (
        "CONVERSATION_CLOSED",
        [
            "Una conversación cerrada no se puede posponer; reábrala primero",
            "a closed conversation cannot be put off; reopen it first",
            "Uma conversa encerrada não pode ser adiada; reabra-a primeiro",
        ],
    ),
    (
        "DEFAULT_PROJECT",
        [
            "El proyecto con el que nació el espacio de trabajo no se borra; cámbielo",
            "the project that a workspace was born with is not deleted; change it instead",
            "O projeto com que o espaço de trabalho nasceu não é excluído; altere-o",
        ],
    ),
    (
        "EMAIL_NOT_VERIFIED",
        [
            "El proveedor de identidad no avala la dirección de correo; verifíquela allí primero",
            "the identity provider does not vouch for the e-mail address; verify it there first",
            "O provedor de identidade não garante o endereço de e-mail; verifique-o lá primeiro",
        ],
    ),
    (
        "EMAIL_TAKEN",
        [
            "Esa dirección ya tiene una cuenta; entre con ella o use otra",
            "the address has an account already; sign in, or use another address",
            "Esse endereço já tem uma conta; entre com ela ou use outro",
        ],
    ),
    (
        "EMAIL_VERIFIED",
        [
            "La dirección ya está verificada",
            "the address is verified already",
            "O endereço já está verificado",
        ],
    ),
    (
        "EMPTY_DATASET",
        [
            "El conjunto no tiene casos; agregue algunos antes de ejecutarlo",
            "the dataset has no cases; add some before it is run",
            "O conjunto não tem casos; adicione alguns antes de executá-lo",
        ],
    ),
    ("FORBIDDEN", ["Sin permisos", "not allowed", "Sem permissão"]),
    (
        "IDENTITY_PROVIDER_UNAVAILABLE",
        [
            "El proveedor de identidad no responde como debe; vuelva a intentarlo más tarde",
            "the identity provider does not answer as it should; try again later",
            "O provedor de identidade não responde como deveria; tente mais tarde",
        ],
    ),
    (
        "IDENTITY_REFUSED",
        [
            "`identity.hash` no es el HMAC-SHA256 de `identity.userId` con el secreto de este widget",
            "`identity.hash` is not the HMAC-SHA256 of `identity.userId` by the secret of this widget",
            "`identity.hash` não é o HMAC-SHA256 de `identity.userId` com o segredo deste widget",
        ],
    ),
    (
        "IDENTITY_REQUIRED",
        [
            "Este widget es para usuarios del sitio; envíe `identity` con su id y su hash",
            "this widget is for users of the site; send `identity` with their id and its hash",
            "Este widget é para usuários do site; envie `identity` com o id e o hash",
        ],
    ),
    (
        "INDEX_UNAVAILABLE",
        [
            "El índice de búsqueda no está disponible; vuelva a intentarlo en un momento",
            "the search index is not available; try again shortly",
            "O índice de busca não está disponível; tente de novo em instantes",
        ],
    ),
    ("INTERNAL", ["Error del servidor", "something went wrong on our side", "Erro do servidor"]),
    (
        "INVITATION_ACCEPTED",
        [
            "La invitación ya fue aceptada; inicie sesión",
            "the invitation was accepted already; sign in",
            "O convite já foi aceito; entre na sua conta",
        ],
    ),
    (
        "INVITATION_EXPIRED",
        [
            "La invitación venció; pida otra",
            "the invitation has expired; ask for another",
            "O convite expirou; peça outro",
        ],
    ),
    (
        "INVITATION_OF_ANOTHER",
        [
            "La invitación es para otra dirección; entre con esa, o salga y acéptela",
            "the invitation is for another address; sign in with that one, or sign out and accept it",
            "O convite é para outro endereço; entre com ele, ou saia e aceite",
        ],
    ),
    (
        "INVITATION_REVOKED",
        [
            "La invitación fue retirada; pida otra",
            "the invitation was taken back; ask for another",
            "O convite foi retirado; peça outro",
        ],
    ),
    (
        "LAST_OWNER",
        [
            "Un espacio de trabajo nunca queda sin propietario; nombre antes a otro miembro",
            "a workspace is never without an owner; make another member one first",
            "Um espaço de trabalho nunca fica sem proprietário; nomeie antes outro membro",
        ],
    ),
    (
        "LINK_EXPIRED",
        [
            "El enlace venció; pida otro",
            "the link has expired; ask for another",
            "O link expirou; peça outro",
        ],
    ),
    (
        "LINK_USED",
        [
            "El enlace ya se usó; pida otro",
            "the link was used already; ask for another",
            "O link já foi usado; peça outro",
        ],
    ),
    (
        "METHOD_NOT_ALLOWED",
        [
            "Método no permitido; vea la cabecera Allow",
            "this route does not take that method; see the header Allow",
            "Método não permitido; veja o cabeçalho Allow",
        ],
    ),
    (
        "MODEL_CREDENTIAL",
        [
            "El proveedor del modelo rechaza la clave; revise OPENAI_API_KEY o la del proveedor del espacio de trabajo",
            "the model provider refuses the key; set OPENAI_API_KEY, or the key of the workspace's provider",
            "O provedor do modelo recusa a chave; revise OPENAI_API_KEY ou a do provedor do espaço de trabalho",
        ],
    ),
    (
        "MODEL_UNAVAILABLE",
        [
            "El proveedor del modelo no está disponible; vuelva a intentarlo en un momento",
            "the model provider is not available; try again shortly",
            "O provedor do modelo não está disponível; tente de novo em instantes",
        ],
    ),
    (
        "NAME_TAKEN",
        [
            "Ya hay una etiqueta con ese nombre; elija otro",
            "there is a tag of that name; choose another `name`",
            "Já existe uma etiqueta com esse nome; escolha outro",
        ],
    ),
    ("NOT_FOUND", ["Recurso no existe", "not found", "O recurso não existe"]),
    (
        "NO_AGENT",
        [
            "El espacio de trabajo no tiene ningún agente; cree uno",
            "the workspace has no agent; create one",
            "O espaço de trabalho não tem nenhum agente; crie um",
        ],
    ),
    (
        "NO_REPORT",
        [
            "Todavía no hay nada que informar de esta ejecución",
            "there is nothing to report on this run yet",
            "Ainda não há o que relatar desta execução",
        ],
    ),
    (
        "ORIGIN_NOT_ALLOWED",
        [
            "Las páginas de este origen no pueden abrir el widget; agréguelo a `allowedOrigins` del proyecto",
            "pages of this origin may not open the widget; add it to the project's `allowedOrigins`",
            "As páginas desta origem não podem abrir o widget; adicione-a a `allowedOrigins` do projeto",
        ],
    ),
    ("PAYLOAD_TOO_LARGE", ["Contenido demasiado grande", "too large", "Conteúdo grande demais"]),
    (
        "RATE_LIMITED",
        [
            "Rate limit excedido",
            "too many requests; wait as long as Retry-After says",
            "Limite de requisições excedido",
        ],
    ),
    (
        "REGISTRATION_CLOSED",
        [
            "Aquí no se pueden registrar desconocidos; pida una invitación a un miembro",
            "strangers may not register here; ask a member of a workspace to invite you",
            "Aqui desconhecidos não podem se registrar; peça um convite a um membro",
        ],
    ),
    (
        "SECOND_FACTOR_REQUIRED",
        [
            "Se necesita un código del segundo factor",
            "a code of the second factor is needed",
            "É necessário um código do segundo fator",
        ],
    ),
    (
        "SECOND_FACTOR_OFF",
        ["No hay segundo factor", "there is no second factor", "Não há segundo fator"],
    ),
    (
        "SECOND_FACTOR_ON",
        [
            "Ya hay un segundo factor; desactívelo antes de configurar otro",
            "there is a second factor already; turn it off before another is set up",
            "Já existe um segundo fator; desative-o antes de configurar outro",
        ],
    ),
    (
        "SERVER_UNAVAILABLE",
        [
            "El servidor no puede atender esto ahora; vuelva a intentarlo en un momento",
            "the server cannot take this now; try again in a while",
            "O servidor não pode atender isto agora; tente de novo em instantes",
        ],
    ),
    (
        "SESSION_ENDED",
        [
            "La sesión terminó; vuelva a entrar",
            "the session has ended; sign in again",
            "A sessão terminou; entre de novo",
        ],
    ),
    (
        "SHORTCUT_TAKEN",
        [
            "Ese atajo ya existe en el espacio de trabajo; elija otro",
            "`shortcut` is taken in this workspace; choose another one",
            "Esse atalho já existe no espaço de trabalho; escolha outro",
        ],
    ),
    (
        "SHUTTING_DOWN",
        [
            "El servidor se está deteniendo; vuelva a intentarlo en un momento",
            "the server is shutting down; try again shortly",
            "O servidor está sendo encerrado; tente de novo em instantes",
        ],
    ),
    (
        "SIGN_IN_FAILED",
        [
            "No se pudo iniciar sesión; empiece de nuevo",
            "signing in did not work; begin again",
            "Não foi possível entrar; comece de novo",
        ],
    ),
    (
        "STALE",
        [
            "Alguien lo cambió mientras tanto; vuelva a leerlo y repita el cambio",
            "somebody has changed it meanwhile; read it again and repeat the change",
            "Alguém o mudou nesse meio-tempo; leia de novo e repita a mudança",
        ],
    ),
    (
        "STALE_VERSION",
        [
            "Mientras tanto se publicó otra versión; vea qué cambió y vuelva a intentarlo",
            "another version is published meanwhile; look at what it changed and try again",
            "Enquanto isso outra versão foi publicada; veja o que mudou e tente de novo",
        ],
    ),
    (
        "STORAGE_UNAVAILABLE",
        [
            "El almacenamiento está ocupado o no responde; vuelva a intentarlo en un momento",
            "the storage is busy or unreachable; try again shortly",
            "O armazenamento está ocupado ou não responde; tente de novo em instantes",
        ],
    ),
    (
        "SYSTEM_DATASTORE",
        [
            "El servidor mantiene esa base por sí mismo; cambie los artículos (/v1/kb/articles)",
            "the server keeps this datastore by itself; change the articles of the knowledge base (/v1/kb/articles)",
            "O servidor mantém essa base por si só; altere os artigos (/v1/kb/articles)",
        ],
    ),
    (
        "TAKEN_OVER",
        [
            "Una persona tomó la conversación; lo escrito hasta ahora no cuenta",
            "a person took the conversation over; what was written so far does not count",
            "Uma pessoa assumiu a conversa; o que foi escrito até agora não conta",
        ],
    ),
    (
        "TOO_MANY_CANNED_REPLIES",
        [
            "El espacio de trabajo tiene todas las respuestas guardadas que puede tener; borre una antes",
            "the workspace has as many canned replies as it may have; delete one first",
            "O espaço de trabalho tem todas as respostas prontas que pode ter; exclua uma antes",
        ],
    ),
    (
        "TOO_MANY_INVITATIONS",
        [
            "Hay demasiadas invitaciones abiertas; retire algunas antes",
            "too many invitations are open; take some back first",
            "Há convites abertos demais; retire alguns antes",
        ],
    ),
    (
        "TOO_MANY_WORKSPACES",
        [
            "Ya tiene todos los espacios de trabajo que una persona puede tener; borre uno antes",
            "a person owns as many workspaces as one may; delete one first",
            "Você já tem todos os espaços de trabalho que uma pessoa pode ter; exclua um antes",
        ],
    ),
    (
        "TURN_LOST",
        [
            "El proceso que escribía esta respuesta terminó; pregunte de nuevo",
            "the process that wrote this answer came to an end; ask again",
            "O processo que escrevia esta resposta terminou; pergunte de novo",
        ],
    ),
    (
        "TURN_TIMEOUT",
        [
            "La respuesta tardó demasiado y se dio por terminada; pregunte de nuevo",
            "the answer took too long and was ended; ask again",
            "A resposta demorou demais e foi encerrada; pergunte de novo",
        ],
    ),
    (
        "WRONG_CODE",
        [
            "El código es incorrecto o ya se usó",
            "the code is wrong or was used already",
            "O código está errado ou já foi usado",
        ],
    ),
    (
        "WRONG_CREDENTIALS",
        [
            "Correo o contraseña incorrectos",
            "e-mail address or password is wrong",
            "E-mail ou senha incorretos",
        ],
    ),
];

/// What an error of this code says, where it is one of those that are told in three languages.
pub(crate) fn fixed_message(code: &str, language: Lang) -> Option<&'static str> {
    let (_, texts) = MESSAGES.iter().find(|(known, _)| *known == code)?;
    let [es, en, pt] = *texts;
    Some(match language {
        Lang::Es => es,
        Lang::Pt => pt,
        Lang::En | Lang::Other => en,
    })
}

/// What an error says in another language than its own: `None` where its own words say what no catalogue can.
pub(crate) fn translated(
    code: &str,
    message: &str,
    blames_field: bool,
    language: Lang,
) -> Option<&'static str> {
    if blames_field && !OF_A_FIELD.contains(&code) {
        return None;
    }
    fixed_message(message, language).or_else(|| fixed_message(code, language))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_there_once_in_three_languages() {
        for (place, (code, texts)) in MESSAGES.iter().enumerate() {
            let first = MESSAGES.iter().position(|(known, _)| known == code);
            assert_eq!(first, Some(place), "{code}");
            assert!(texts.iter().all(|text| !text.is_empty()), "{code}");
        }
        assert!(OF_A_FIELD.iter().all(|code| fixed_message(code, Lang::Es).is_some()));
    }
}
