//! What kind of answer a question asks for, and whether a sentence holds one, by rule in es, en and pt.

use std::sync::LazyLock;

use regex::Regex;

use crate::lexical::{each_word, fold};

/// What kind of answer a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerType {
    /// How many, how much.
    Number,
    /// When.
    Date,
    /// Who, or what it is called.
    Name,
    /// Where.
    Place,
    /// What it costs.
    Price,
    /// At what time.
    Hour,
}

/// The kind of answer that a question asks for; `None` when it cannot be told.
pub fn expected(question: &str) -> Option<AnswerType> {
    let mut words = String::from(" ");
    each_word(question, |word| {
        words.push_str(word);
        words.push(' ');
    });
    let asks = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    RULES.iter().find(|(_, phrases)| asks(phrases)).map(|(kind, _)| *kind)
}

/// Folded phrases with blanks around them, the more telling kinds first.
const RULES: &[(AnswerType, &[&str])] = &[
    (
        AnswerType::Price,
        &[
            " cuanto cuesta",
            " cuanto vale",
            " cuanto sale",
            " cuanto cobra",
            " cuanto es ",
            " precio",
            " costo ",
            " coste ",
            " tarifa",
            " valor ",
            " how much does",
            " how much is",
            " how much are",
            " how much do ",
            " price",
            " cost ",
            " costs ",
            " fee ",
            " fees ",
            " quanto custa",
            " quanto fica",
            " preco",
            " custo ",
            " taxa ",
        ],
    ),
    (
        AnswerType::Hour,
        &[
            " a que hora",
            " que hora",
            " horario",
            " hasta que hora",
            " what time",
            " opening hours",
            " opening times",
            " que horas",
            " ate que horas",
            " a q hora",
            " q hora",
        ],
    ),
    (
        AnswerType::Date,
        &[
            " cuando ",
            " en que fecha",
            " que dia",
            " en que ano ",
            " que ano ",
            " en que siglo",
            " que mes ",
            " when ",
            " what year",
            " which year",
            " what date",
            " what day",
            " what century",
            " quando ",
            " em que ano",
            " qual ano",
            " que data",
            " cdo ",
            " cdo",
            " in what year",
        ],
    ),
    (
        AnswerType::Number,
        &[
            " cuanto ",
            " cuanta ",
            " cuantos ",
            " cuantas ",
            " how many",
            " how much",
            " how long",
            " how old",
            " how far",
            " how often",
            " what percentage",
            " what number",
            " que porcentaje",
            " porcentaje ",
            " que numero",
            " quanto ",
            " quanta ",
            " quantos ",
            " quantas ",
            " qual o numero",
            " porcentagem ",
            " que cantidad",
            " que edad",
            " que temperatura",
            " que distancia",
            " a que altura",
        ],
    ),
    (
        AnswerType::Place,
        &[
            " donde ",
            " adonde ",
            " direccion ",
            " en que ciudad",
            " en que pais",
            " en que lugar",
            " que ciudad",
            " que pais",
            " where ",
            " address ",
            " what city",
            " what country",
            " which country",
            " which city",
            " onde ",
            " aonde ",
            " endereco ",
            " em que cidade",
            " em que pais",
            " qual cidade",
            " dnd ",
            " dond ",
        ],
    ),
    (
        AnswerType::Name,
        &[
            " quien ",
            " quienes ",
            " a quien",
            " who ",
            " whom ",
            " whose ",
            " quem ",
            " como se llama",
            " cual es el nombre",
            " que nombre",
            " what is the name",
            " what was the name",
            " what is the title",
            " qual o nome",
            " como se chama",
            " kien ",
        ],
    ),
];

/// Whether a sentence holds an answer of that kind.
pub fn holds(sentence: &str, kind: AnswerType) -> bool {
    match kind {
        AnswerType::Number => has_digit(sentence) || NUMBER_WORD.is_match(&fold(sentence)),
        AnswerType::Date => has_digit(sentence) || DATE_WORD.is_match(&fold(sentence)),
        AnswerType::Price => PRICE.is_match(&fold(sentence)),
        AnswerType::Hour => HOUR.is_match(&fold(sentence)),
        AnswerType::Name => has_proper_name(sentence),
        AnswerType::Place => has_proper_name(sentence) || PLACE_WORD.is_match(&fold(sentence)),
    }
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit())
}

/// A word with a capital that does not begin the sentence.
fn has_proper_name(sentence: &str) -> bool {
    let mut words = sentence.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.next();
    words
        .any(|word| word.chars().next().is_some_and(char::is_uppercase) && word.chars().count() > 1)
}

/// A pattern of this file, fixed at compile time; the tests use every one of them.
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns of this file are valid")
}

static NUMBER_WORD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b(un[oa]?|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|once|doce|veinte|treinta|cien|ciento|mil|millon(es)?|docena|mitad|tercio|ningun[oa]?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|fifty|hundred|thousand|millions?|billions?|dozen|half|third|quarter|none|um|uma|dois|duas|quatro|sete|oito|nove|dez|onze|doze|vinte|trinta|cem|milhao|milhoes|metade)\b",
    )
});
static DATE_WORD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b(enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre|january|february|march|april|may|june|july|august|september|october|november|december|janeiro|fevereiro|marco|maio|junho|julho|setembro|outubro|novembro|dezembro|lunes|martes|miercoles|jueves|viernes|sabado|domingo|feriados?|monday|tuesday|wednesday|thursday|friday|saturday|sunday|segunda|terca|quarta|quinta|sexta|siglo|century|seculo|decada|decade|hoy|ayer|manana|today|yesterday|tomorrow|hoje|ontem|amanha|dias?|semanas?|mes(es)?|anos?|days?|weeks?|months?|years?|antes|despues|durante|before|after|during|until)\b",
    )
});
static PRICE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"([$€£]|\b(us|r|ar|clp|usd|eur|brl|mxn|cop|pen)\$?\s?\d|\d[\d.,]*\s?(\$|€|%|pesos|dolares|euros|soles|reais|dollars|pounds|centavos|cents|usd|eur|clp|mil\b|lucas)|\b(gratis|gratuit[oa]s?|sin costo|sin cargo|free|no charge|sem custo)\b)",
    )
});
static HOUR: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(\d{1,2}\s?[:h]\s?\d{2}|\d{1,2}\s?(am|pm|a\.\s?m|p\.\s?m|hrs?\b|horas\b|h\b|hours\b|o'clock)|\b(mediodia|medianoche|noon|midnight|meio-dia|meia-noite|24/7)\b|\ba las? (\d|una|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|once|doce)|\bas \d)",
    )
});
static PLACE_WORD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b(calle|avenida|av|pasaje|esquina|local|piso|oficina|sucursal|tienda|bodega|street|road|avenue|floor|office|store|rua|andar|loja|ciudad|pais|region|city|country|cidade|norte|sur|este|oeste|north|south|east|west|seccion|section|pagina|page|menu)\b",
    )
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_ask_for_their_kind_in_three_languages() {
        for (question, kind) in [
            ("¿Cuánto cuesta el envío?", Some(AnswerType::Price)),
            ("how much is shipping", Some(AnswerType::Price)),
            ("quanto custa o frete", Some(AnswerType::Price)),
            ("a q hora abren", Some(AnswerType::Hour)),
            ("what time do you close?", Some(AnswerType::Hour)),
            ("cuando llega mi pedido", Some(AnswerType::Date)),
            ("Quando chega?", Some(AnswerType::Date)),
            ("¿Cuántos días tengo?", Some(AnswerType::Number)),
            ("how many days do I have", Some(AnswerType::Number)),
            ("¿Dónde queda la tienda?", Some(AnswerType::Place)),
            ("onde fica a loja", Some(AnswerType::Place)),
            ("¿Quién firma el contrato?", Some(AnswerType::Name)),
            ("¿Puedo pagar con tarjeta?", None),
        ] {
            assert_eq!(expected(question), kind, "{question}");
        }
    }

    #[test]
    fn sentences_hold_answers_of_a_kind() {
        for (sentence, kind, holds_it) in [
            ("El envío cuesta 5.490 pesos.", AnswerType::Price, true),
            ("El despacho es gratis.", AnswerType::Price, true),
            ("Envío en 5 días.", AnswerType::Price, false),
            ("Abrimos de 10:00 a 20:00.", AnswerType::Hour, true),
            ("Abrimos todos los días.", AnswerType::Hour, false),
            ("Llega el martes.", AnswerType::Date, true),
            ("Llega pronto.", AnswerType::Date, false),
            ("Son tres tiendas.", AnswerType::Number, true),
            ("Tenemos tiendas.", AnswerType::Number, false),
            ("La fundó Ana Soto.", AnswerType::Name, true),
            ("La fundó una arquitecta.", AnswerType::Name, false),
            ("Queda en avenida Libertad.", AnswerType::Place, true),
        ] {
            assert_eq!(holds(sentence, kind), holds_it, "{sentence} {kind:?}");
        }
    }
}
