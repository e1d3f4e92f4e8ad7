//! What a message is besides a question, by rule in es, en and pt. Whatever is not plainly something else
//! stays a question.

use std::sync::LazyLock;

use domain::Lang;
use regex::Regex;

use super::Intent;
use crate::lexical::{each_word, fold};

/// The intent of a message.
pub fn intent(message: &str, lang: Lang) -> Intent {
    let mut words = Vec::new();
    each_word(message, |word| words.push(squeeze(word)));
    if words.is_empty() {
        return Intent::Question;
    }
    if wants_a_person(&words) {
        return Intent::Human;
    }
    if let Some(details) = contact_details(message) {
        return details;
    }
    smalltalk(&words, lang).unwrap_or(Intent::Question)
}

/// Letters that are drawn out in chats count once from the third on: `holaaa` is `hola`.
fn squeeze(word: &str) -> String {
    let mut squeezed = String::with_capacity(word.len());
    let mut run = 0;
    let mut last = None;
    for c in word.chars() {
        run = if last == Some(c) { run + 1 } else { 1 };
        last = Some(c);
        if run == 3 {
            squeezed.pop();
        } else if run < 3 || c.is_ascii_digit() {
            squeezed.push(c);
        }
    }
    squeezed
}

/// Kinds of small talk that a phrase stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Talk {
    /// Says nothing by itself.
    Filler,
    Greeting,
    Goodbye,
    Thanks,
}

/// The kind of small talk that all words together are; `None` when a word is left over.
fn smalltalk(words: &[String], lang: Lang) -> Option<Intent> {
    let mut said = Talk::Filler;
    let mut rest = words;
    while !rest.is_empty() {
        let (kind, length) = longest_phrase(rest, lang)?;
        said = said.max(kind);
        rest = &rest[length..];
    }
    match said {
        Talk::Filler => None,
        Talk::Greeting => Some(Intent::Greeting),
        Talk::Goodbye => Some(Intent::Goodbye),
        Talk::Thanks => Some(Intent::Thanks),
    }
}

fn longest_phrase(words: &[String], lang: Lang) -> Option<(Talk, usize)> {
    let own = match lang {
        Lang::Es => SPANISH,
        Lang::En => ENGLISH,
        Lang::Pt => PORTUGUESE,
        Lang::Other => &[],
    };
    let mut best: Option<(Talk, usize)> = None;
    for (kind, phrases) in PHRASES.iter().chain(own) {
        for phrase in phrases.split(',') {
            let length = matched(words, phrase.trim());
            if length > best.map_or(0, |(_, longest)| longest) {
                best = Some((*kind, length));
            }
        }
    }
    best
}

/// Words of `phrase` when `words` begin with it, else 0.
fn matched(words: &[String], phrase: &str) -> usize {
    let length = phrase.split(' ').count();
    let begins = length <= words.len() && phrase.split(' ').zip(words).all(|(a, b)| a == b);
    if begins { length } else { 0 }
}

/// Phrases that mean the same whatever the language of the conversation, folded.
const PHRASES: &[(Talk, &str)] = &[
    (
        Talk::Greeting,
        "hola, holi, wena, wenas, alo, buenas, buen dia, buenos dias, buenas tardes, buenas noches, saludos, que tal, \
         como estas, como esta, como estan, como andas, como va, que hay, un saludo, saludos cordiales, \
         hello, hi, hey, hiya, good morning, good afternoon, good evening, greetings, how are you, how are you doing, \
         whats up, what s up, how is it going, how s it going, \
         ola, oi, oie, bom dia, boa tarde, boa noite, tudo bem, tudo bom, como vai, como voce esta, e ai",
    ),
    (
        Talk::Thanks,
        "gracias, muchas gracias, mil gracias, muchisimas gracias, gracias por todo, gracias por tu ayuda, \
         gracias por su ayuda, gracias por la ayuda, gracias por la informacion, gracias por la info, te lo agradezco, \
         se lo agradezco, se agradece, muy amable, grax, \
         thanks, thank you, thank you very much, thank you so much, thanks a lot, many thanks, thx, ty, \
         thanks for your help, thank you for your help, thanks for the help, cheers, much appreciated, \
         obrigado, obrigada, muito obrigado, muito obrigada, obrigado pela ajuda, obrigada pela ajuda, valeu, vlw, brigado, \
         brigada, agradecido, agradecida, agradeco",
    ),
    (
        Talk::Goodbye,
        "adios, chao, chau, hasta luego, hasta pronto, hasta manana, nos vemos, que tengas buen dia, que tenga buen dia, \
         que tenga un buen dia, que tengas un buen dia, que este bien, que estes bien, cuidate, bye, bye bye, goodbye, good bye, see you, see you later, see ya, \
         have a nice day, have a good day, good night, take care, tchau, ate logo, ate mais, ate breve, ate amanha, \
         tenha um bom dia, bom fim de semana, buen fin de semana",
    ),
    (
        Talk::Filler,
        "eso es todo, nada mas, that s all, that is all, so isso, era isso, por ahora, de nada, jaja, jeje, haha, y, e, and, ok, okay, okey, oki",
    ),
];

/// Words that agree, or address somebody, in Spanish only.
const SPANISH: &[(Talk, &str)] = &[
    (
        Talk::Filler,
        "a todos, amigo, amiga, amigos, equipo, senor, senora, senorita, bien, muy bien, y tu, y usted, no, si, por",
    ),
    (
        Talk::Thanks,
        "vale, perfecto, listo, genial, excelente, buenisimo, dale, entendido, de acuerdo, super, bacan, joya, barbaro",
    ),
];

/// In English only.
const ENGLISH: &[(Talk, &str)] = &[
    (
        Talk::Filler,
        "there, everyone, team, again, sir, madam, fine, very well, no, yes, so, for now, all, well",
    ),
    (
        Talk::Thanks,
        "great, perfect, awesome, cool, got it, understood, sounds good, excellent, nice, all good",
    ),
];

/// In Portuguese only.
const PORTUGUESE: &[(Talk, &str)] = &[
    (
        Talk::Filler,
        "a todos, pessoal, amigo, amiga, gente, senhor, senhora, moco, moca, bem, muito bem, e voce, e vc, nao, sim, por",
    ),
    (
        Talk::Thanks,
        "perfeito, otimo, beleza, blz, entendi, entendido, certo, legal, show, maravilha, ta bom, excelente",
    ),
];

/// Whether the message asks for a person: a verb of contact near a word for a person, or that word alone.
/// A question about when or where a person can be reached stays a question.
fn wants_a_person(words: &[String]) -> bool {
    let asked = words.join(" ");
    if ABOUT_A_PERSON.is_match(&asked) {
        return false;
    }
    PERSON_ALONE.is_match(&asked)
        || CONTACT_WITH_PERSON.is_match(&asked)
        || NO_ROBOT.is_match(&asked)
}

/// Words for somebody who is not a machine.
const PERSON: &str = r"(?:persona|personas|humano|humana|humanos|agente|asesora?|ejecutiv[oa]|operadora?|representante|alguien|vendedora?|encargad[oa]|supervisora?|gerente|human|person|people|someone|somebody|agent|representative|advisor|operator|supervisor|manager|pessoa|atendente|alguem|consultora?)";

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns of this file are valid")
}

static ABOUT_A_PERSON: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:(?:hola|hello|hi|oi|ola) )?(?:cuando|donde|cuanto|cuantos|cuantas|quien|a que hora|en que horario|hasta que hora|desde que hora|cual es el horario|when|where|who|what time|how much|how long|how many|quando|onde|quanto|quem|que horas|ate que horas)\b",
    )
});

static PERSON_ALONE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"^(?:(?:hola|hello|hi|oi|ola|no|por favor|porfa|please) )*(?:(?:quiero|quisiera|necesito|prefiero|dame|pasame|pasenme|i want|i need|give me|get me|quero|preciso(?: de)?|gostaria de) )?(?:(?:a|an|the|un|una|con|con un|con una|um|uma|com|real|to a|a real|speak to) )*{PERSON}(?: (?:real|humana|humano|de verdad|please|por favor|porfa|porfavor|verdadera|viva|ahora|now|agora|da loja|de la tienda|de atencion))*$"
    ))
});

static CONTACT_WITH_PERSON: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"\b(?:habl\w+|convers\w+|chatear|comunic\w+|contact\w+|pas(?:a|e|en)me|pasar|deriv\w+|transfi?er\w+|conect\w+|atiend\w+|atender|atend\w+|llame|llamen|speak|talk|chat|connect|transfer|reach|falar|falo|conversar|passar|passa)(?: (?:me|mi|con|com|to|with|a|al|an|un|una|uno|um|uma|el|la|algun|alguna|the|real|otra|outra|otro|de|por|live|alg\w+|quiero|directamente|directo|favor)){{0,5}} {PERSON}\b"
    ))
});

static NO_ROBOT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\bno (?:quiero|me sirve|deseo) (?:hablar )?(?:con )?(?:un |una |el |este )?(?:robot|bot|maquina)\b|\bnot? (?:a |talking to a |want a )?(?:robot|bot|machine)\b|\bnao quero (?:falar )?(?:com )?(?:um |uma )?(?:robo|bot|maquina)\b",
    )
});

static EMAIL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"));
static PHONE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:\+|\b00)?\(?\d(?:[\s().-]{0,2}\d){6,14}\b"));

/// Words around contact details that ask nothing, folded.
static CONTACT_WORD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:mi|mis|my|meu|minha|el|la|lo|los|o|a|es|is|e|y|and|este|esta|this|correo|correos|electronico|email|mail|e|numero|num|nro|number|telefono|telefone|fono|phone|celular|cel|movil|mobile|cell|whatsapp|wsp|wpp|wasap|contacto|contact|contato|datos|details|dados|hola|hello|hi|oi|ola|buenas|buenos|dias|tardes|bom|dia|boa|tarde|gracias|thanks|obrigad[oa]|me|llamo|nombre|name|nome|soy|sou|chamo|i|am|m|s|pueden|puede|puedes|podem|pode|can|you|escribir|escribirme|escribanme|escribeme|llamar|llamarme|llamenme|llamame|contactarme|contactenme|contactar|reach|call|write|text|ligar|me|escrever|al|to|at|para|por|favor|please|en|on|no|tambien|also|tambem|de|your|aqui|here|va|te|dejo|les|dejo|deixo|anota|anote|si|sim|yes|claro|sure|ok|com|o|or|ou|nuestro|empresa|company)$",
    )
});
/// Words that make contact details part of a question.
static ASKS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b(?:que|cual|cuando|como|donde|cuanto|cuanta|cuantos|cuantas|quien|porque|what|when|where|how|why|which|who|qual|quando|onde|quanto|quem|pedido|orden|order|factura|invoice|boleta|codigo|code|tracking|rut|compra)\b",
    )
});

/// Words besides contact details and the words around them: a name has up to four.
const NAME_WORDS: usize = 4;

/// Contact details that a message offers without asking anything.
fn contact_details(message: &str) -> Option<Intent> {
    let email = EMAIL.find(message).map(|found| found.as_str().to_owned());
    let without_email = EMAIL.replace_all(message, " ");
    let phone = PHONE.find(&without_email).map(|found| found.as_str().trim().to_owned());
    if email.is_none() && phone.is_none() {
        return None;
    }
    let rest = PHONE.replace_all(&without_email, " ");
    if rest.contains('?') || ASKS.is_match(&fold(&rest)) {
        return None;
    }
    let mut others = 0;
    let mut cues = 0;
    each_word(&rest, |word| {
        if CONTACT_WORD.is_match(word) {
            cues += 1;
        } else {
            others += 1;
        }
    });
    // Digits alone may be anything; with words around them, one must say that they are for contact.
    let plausible = email.is_some() || others == 0 || cues > 0;
    (plausible && others <= NAME_WORDS).then_some(Intent::ContactDetails { email, phone })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_talk_and_nothing_else_is_told() {
        for (message, lang, expected) in [
            ("hola", Lang::Es, Intent::Greeting),
            ("Holaaa!! 😊", Lang::Es, Intent::Greeting),
            ("Buenas tardes, ¿cómo estás?", Lang::Es, Intent::Greeting),
            ("hello there", Lang::En, Intent::Greeting),
            ("Oi, tudo bem?", Lang::Pt, Intent::Greeting),
            ("muchas gracias!", Lang::Es, Intent::Thanks),
            ("ok perfecto gracias", Lang::Es, Intent::Thanks),
            ("thanks a lot", Lang::En, Intent::Thanks),
            ("muito obrigada", Lang::Pt, Intent::Thanks),
            ("chao", Lang::Es, Intent::Goodbye),
            ("hasta luego", Lang::Es, Intent::Goodbye),
            ("bye", Lang::En, Intent::Goodbye),
            ("tchau, até mais", Lang::Pt, Intent::Goodbye),
        ] {
            assert_eq!(intent(message, lang), expected, "{message}");
        }
    }

    #[test]
    fn a_person_is_asked_for() {
        for (message, lang) in [
            ("quiero hablar con una persona", Lang::Es),
            ("Necesito hablar con un humano por favor", Lang::Es),
            ("me puedes comunicar con un ejecutivo?", Lang::Es),
            ("pásame con un agente", Lang::Es),
            ("agente", Lang::Es),
            ("no quiero hablar con un robot", Lang::Es),
            ("I want to talk to a human", Lang::En),
            ("can I speak with a real person?", Lang::En),
            ("human please", Lang::En),
            ("quero falar com um atendente", Lang::Pt),
            ("preciso falar com uma pessoa", Lang::Pt),
        ] {
            assert_eq!(intent(message, lang), Intent::Human, "{message}");
        }
    }

    #[test]
    fn contact_details_are_read() {
        assert_eq!(
            intent("mi correo es Ana.Perez@ejemplo.cl y mi fono +56 9 8765 4321", Lang::Es),
            Intent::ContactDetails {
                email: Some("Ana.Perez@ejemplo.cl".to_owned()),
                phone: Some("+56 9 8765 4321".to_owned()),
            }
        );
        assert_eq!(
            intent("Soy Ana Pérez, ana@ejemplo.cl", Lang::Es),
            Intent::ContactDetails { email: Some("ana@ejemplo.cl".to_owned()), phone: None }
        );
        assert_eq!(
            intent("call me at (212) 555-0147", Lang::En),
            Intent::ContactDetails { email: None, phone: Some("(212) 555-0147".to_owned()) }
        );
    }

    #[test]
    fn real_questions_stay_questions() {
        for message in [
            "hola, cuanto cuesta el envio?",
            "gracias, y los domingos abren?",
            "a qué hora puedo hablar con un asesor?",
            "¿puede pasar mi hermano a retirar?",
            "necesito factura a nombre de una persona jurídica",
            "el pedido 123456789 no ha llegado",
            "¿a qué correo escribo? el mío es ana@ejemplo.cl",
            "how many people fit in the tent",
            "do you have a sales representative in Lima?",
            "AN-4471",
            "ok",
            "12345678 llegó roto",
            "quanto custa o vale presente?",
            "carpa para 4 personas",
            "la carpa de 2 personas pesa mucho?",
        ] {
            assert_eq!(intent(message, Lang::Es), Intent::Question, "{message}");
        }
    }
}
