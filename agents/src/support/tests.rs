//! What is detected, and what is not.

use proptest::prelude::*;

use super::{Ground, unsupported};

fn missing(answer: &str, ground: &str) -> Vec<String> {
    let mut known = Ground::default();
    known.add(ground);
    unsupported(answer, &known)
}

#[track_caller]
fn holds(answer: &str, ground: &str) {
    assert_eq!(missing(answer, ground), Vec::<String>::new(), "{answer} | {ground}");
}

#[track_caller]
fn lacks(answer: &str, ground: &str, expected: &[&str]) {
    assert_eq!(missing(answer, ground), expected, "{answer} | {ground}");
}

#[test]
fn a_number_is_supported_however_it_is_written() {
    for written in ["1.234,50", "1,234.50", "1234.5", "$1.234,5", "US$1234,50", "1\u{a0}234,50"] {
        for ground in ["Cuesta 1.234,50 pesos", "It costs 1,234.50", "preço: R$1234,50"] {
            holds(&format!("Cuesta {written} [1]."), ground);
        }
        lacks("Cuesta 1.235 [1].", &format!("Cuesta {written}"), &["1.235"]);
    }
    holds("Cuesta $3.500.", "El envío cuesta 3500 pesos");
    holds("Son 3 mil pesos, o 2,5 millones.", "Son 3.000 pesos; 2.500.000");
    holds("Sale 10k.", "Sale 10.000");
    holds("Son 10kg", "Pesa 10 kilos");
    lacks("Cuesta 4.500 pesos [1].", "Cuesta 3.500 pesos", &["4.500"]);
}

#[test]
fn a_percentage_is_not_any_number() {
    holds("Hay 10% de descuento", "Descuento del 10 % al pagar");
    holds("Hay 10 por ciento", "10%");
    holds("Hay 15%", "quince por ciento");
    lacks("Hay 10% de descuento", "Hay 10 tiendas", &["10%"]);
}

#[test]
fn hours_are_compared_as_hours() {
    for (answer, ground) in [
        ("De 9:00 a 18:00 hs", "de 9 a 18 horas"),
        ("De 9 a 18", "De 09:00 a 18:00"),
        ("Hasta las 6 pm", "hasta las 18:00"),
        ("Até as 6 da tarde", "Até as 18h"),
        ("Until 6:30 p.m.", "hasta las 18:30 hs"),
        ("A las 18.30", "a las 18:30"),
        ("A las 18h30", "at 6:30 PM"),
        ("A las 9:30", "a las 9 y media"),
        ("12 am", "00:00"),
    ] {
        holds(answer, ground);
    }
    lacks("Abre a las 8:00", "Abre a las 9:00", &["8:00"]);
    lacks("Cierra a las 7 pm", "Cierra a las 18:00", &["7 pm"]);
}

#[test]
fn dates_are_compared_as_days() {
    for (answer, ground) in [
        ("El 24 de diciembre cerramos", "Cerrado: 24/12/2026"),
        ("El 24/12 cerramos", "cerrado el 24 de diciembre"),
        ("Closed on December 24, 2026", "Cerrado el 24-12-2026"),
        ("Closed on the 24th of December", "2026-12-24"),
        ("em 1º de março", "el 1 de marzo"),
    ] {
        holds(answer, ground);
    }
    lacks("El 25 de diciembre", "El 24 de diciembre", &["25 de diciembre"]);
    lacks("El 24 de diciembre de 2027", "El 24/12/2026", &["2027"]);
    lacks("El 2026-12-25", "El 24/12/2026", &["2026-12-25"]);
}

#[test]
fn numbers_in_words_support_digits_and_greater_ones_are_checked() {
    holds("Tiene 30 días", "Tiene treinta días");
    holds("Tem 24 horas", "vinte e quatro horas");
    holds("Son 3.500", "tres mil quinientos pesos");
    holds("Hay tres opciones, una de ellas gratis, y mil gracias", "Opciones");
    lacks("Tiene treinta días", "Tiene 15 días", &["treinta"]);
    lacks("Tem trinta e cinco dias", "35 euros e 1.", &[]);
}

#[test]
fn codes_addresses_and_telephone_numbers_are_checked_whole() {
    holds("El modelo ABC-123 y el X200", "Modelos: abc 123, X-200");
    lacks("El modelo ABC-124", "ABC-1245 y ABC-123", &["ABC-124"]);
    holds("Escriba a Ventas@Ejemplo.cl.", "Correo: ventas@ejemplo.cl");
    lacks("Escriba a ventas@otro.cl.", "ventas@ejemplo.cl", &["ventas@otro.cl"]);
    holds("Ver https://www.ejemplo.cl/ayuda/.", "En ejemplo.cl/ayuda está todo");
    lacks("Ver https://ejemplo.cl/pago", "https://ejemplo.cl/pagos", &["https://ejemplo.cl/pago"]);
    holds("Llame al +56 9 1234 5678", "Fono: 912345678");
    holds("Llame al 600 123 4567.", "(600) 123-4567");
    lacks("Llame al +56 9 1234 0000", "Fono: 912345678", &["+56 9 1234 0000"]);
    lacks("Versión 1.2.3", "Versión 1.2.4", &["1.2.3"]);
}

#[test]
fn markers_and_the_numbers_of_lists_claim_nothing() {
    holds("1. Abra la caja [1]\n2. Lea [2][17]\n- 3) Listo\n**4.** Fin", "Abra la caja y lea");
    lacks("Son 2. Y luego 7", "", &["2", "7"]);
}

#[test]
fn each_finding_is_told_once_in_order() {
    lacks("Cuesta 99, o sea 99, y 77 % de 5", "", &["99", "77 %", "5"]);
    lacks("", "", &[]);
}

/// A number as the three languages write it.
fn written(whole: u64, cents: u64) -> Vec<String> {
    let digits = whole.to_string();
    let grouped = |separator: char| {
        let mut out = String::new();
        for (place, c) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                out.push(separator);
            }
            out.push(c);
        }
        out
    };
    vec![
        format!("{},{cents:02}", grouped('.')),
        format!("{}.{cents:02}", grouped(',')),
        format!("{whole}.{cents:02}"),
        format!("{whole},{cents:02}"),
    ]
}

proptest! {
    #[test]
    fn every_writing_of_a_number_supports_every_other(whole in 0..10_000_000_u64, cents in 0..100_u64) {
        for answer in written(whole, cents) {
            for ground in written(whole, cents) {
                let answer = format!("Cuesta {answer}");
                prop_assert_eq!(missing(&answer, &format!("vale {ground} hoy")), Vec::<String>::new());
            }
            let other = format!("vale {}", whole + 1_000);
            prop_assert_eq!(missing(&format!("Cuesta {answer}"), &other), vec![answer]);
        }
    }

    #[test]
    fn any_text_supports_itself(text in ".{0,80}") {
        prop_assert_eq!(missing(&text, &text), Vec::<String>::new());
    }

    #[test]
    fn a_text_of_facts_supports_itself(text in "[0-9a-zA-Z .,:/@%()+\\-]{0,60}") {
        prop_assert_eq!(missing(&text, &text), Vec::<String>::new());
    }
}
