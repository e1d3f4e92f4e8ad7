//! What texts of models say about themselves: that they do not know, or that they will not.

use crate::text;

/// Folded, how models of all makers say that they do not know, in es, en and pt.
const UNKNOWING: &[&str] = &[
    "no lo se",
    "no se la respuesta",
    "no tengo informacion",
    "no tengo esa informacion",
    "no tengo acceso a",
    "no dispongo de",
    "no cuento con informacion",
    "no encuentro informacion",
    "no encontre informacion",
    "no hay informacion",
    "desconozco",
    "no puedo confirmar",
    "i don t know",
    "i do not know",
    "i don t have information",
    "i do not have information",
    "i don t have access to",
    "i do not have access to",
    "i don t have that information",
    "i do not have that information",
    "i couldn t find",
    "i could not find",
    "no information about",
    "i m not sure",
    "i am not sure",
    "nao sei",
    "nao tenho informac",
    "nao tenho essa informacao",
    "nao tenho acesso",
    "nao disponho de",
    "nao encontrei informac",
    "nao ha informac",
    "desconheco",
];

/// Folded, how models decline for reasons of their own.
const DECLINING: &[&str] = &[
    "no puedo ayudarte con eso",
    "no puedo ayudar con eso",
    "no puedo cumplir con esa solicitud",
    "no puedo responder a esa solicitud",
    "como modelo de lenguaje",
    "i can t help with that",
    "i cannot help with that",
    "i m unable to help with",
    "i can t assist with",
    "i cannot assist with",
    "i m sorry but i can t",
    "i m sorry but i cannot",
    "as an ai language model",
    "nao posso ajudar com isso",
    "nao posso atender a",
    "como um modelo de linguagem",
];

/// Characters that such a text begins with; later it is about something else.
const BEGINNING: usize = 240;

/// Whether a text says that its writer does not know.
pub(crate) fn does_not_know(answer: &str) -> bool {
    says(answer, UNKNOWING)
}

/// Whether a text declines to answer for reasons of its writer.
pub(crate) fn declines(answer: &str) -> bool {
    says(answer, DECLINING)
}

fn says(answer: &str, phrases: &[&str]) -> bool {
    let beginning: String = answer.chars().take(BEGINNING).collect();
    let folded = text::folded(&beginning);
    phrases.iter().any(|phrase| folded.contains(&format!(" {phrase}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_knowing_and_not_wanting_are_told_apart() {
        for text in [
            "Lo siento, no tengo información sobre eso.",
            "I don't know the answer to that.",
            "Desculpe, não tenho informações sobre isso.",
        ] {
            assert!(does_not_know(text) && !declines(text), "{text}");
        }
        for text in ["No puedo ayudarte con eso.", "I'm sorry, but I can't do that."] {
            assert!(declines(text) && !does_not_know(text), "{text}");
        }
        for text in ["El envío cuesta 5.490 pesos.", "Não cobramos frete.", "We don't charge."] {
            assert!(!declines(text) && !does_not_know(text), "{text}");
        }
    }
}
