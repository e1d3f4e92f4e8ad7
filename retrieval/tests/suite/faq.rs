//! A list of frequent questions as shops upload it: short sections whose headings say what they are about.

use models::builtin::{Passage, extract};
use retrieval::passage_heading;

use crate::world::{World, arms};

/// The sections of the document, under its own heading.
const FAQ: &[(&str, &str)] = &[
    (
        "Preguntas frecuentes › Horarios",
        "Atendemos de lunes a viernes de 9 a 18 horas y los sábados de 10 a 14.",
    ),
    (
        "Preguntas frecuentes › Envíos",
        "El envío a regiones tarda entre 3 y 6 días hábiles y cuesta 5.490 pesos.",
    ),
    (
        "Preguntas frecuentes › Pagos",
        "Aceptamos tarjetas de crédito y débito, transferencia y efectivo en la tienda.",
    ),
    (
        "Preguntas frecuentes › Devoluciones",
        "Tienes 30 días corridos para traer de vuelta un producto sin uso con su boleta.",
    ),
    (
        "Preguntas frecuentes › Garantía",
        "Todos los productos tienen seis meses de cobertura legal por fallas de fábrica.",
    ),
    (
        "Preguntas frecuentes › Contacto",
        "Escríbenos a hola@tienda.cl o al WhatsApp +56 9 5555 1234.",
    ),
];

/// Questions, and the section that answers each.
const QUESTIONS: &[(&str, usize)] = &[
    ("¿Cuáles son los horarios?", 0),
    ("¿Qué horario tienen los sábados?", 0),
    ("a que hora abren", 0),
    ("horarios", 0),
    ("¿Cuánto demora el envío?", 1),
    ("cuanto cuesta el envio a regiones", 1),
    ("¿Cómo son los envíos?", 1),
    ("¿Cuáles son las formas de pago?", 2),
    ("como puedo pagar", 2),
    ("aceptan tarjeta", 2),
    ("¿Cómo hago una devolución?", 3),
    ("cual es la politica de devoluciones", 3),
    ("¿Tienen garantía?", 4),
    ("como los contacto", 5),
];

#[tokio::test]
async fn a_heading_decides_which_section_of_a_list_of_questions_answers() {
    for arm in arms("headings of a list of questions") {
        for sections in [3, 4, FAQ.len()] {
            let world = World::new(&arm).await;
            world.add_headed("preguntas.md", &FAQ[..sections]).await;
            for (question, section) in QUESTIONS.iter().filter(|(_, section)| *section < sections) {
                let results = world.search(question).await;
                let said = answer(&results);
                let of = format!("{question} among {sections}: {:.3} {said:?}", results.evidence);
                assert_eq!(results.hits[0].live.chunk.text, FAQ[*section].1, "{of}");
                assert!(said.first().is_some_and(|first| first == FAQ[*section].1), "{of}");
                assert!(results.evidence >= results.threshold, "{of}");
            }
        }
    }
}

fn answer(results: &retrieval::SearchResults) -> Vec<String> {
    let heading =
        |hit: &retrieval::Hit| passage_heading(&hit.live.source_name, &hit.live.chunk.heading);
    let headings: Vec<String> = results.hits.iter().map(heading).collect();
    let passages: Vec<Passage<'_>> = results
        .hits
        .iter()
        .zip(&headings)
        .map(|(hit, heading)| Passage {
            text: &hit.live.chunk.text,
            heading,
            lang: hit.live.chunk.lang,
            score: hit.score,
        })
        .collect();
    let extracts = extract(&results.question.asked, &passages);
    extracts.into_iter().map(|extract| extract.sentence).collect()
}
