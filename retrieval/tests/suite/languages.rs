use domain::Lang;

use crate::world::{World, arms};

#[tokio::test]
async fn each_passage_is_stemmed_by_its_own_language_and_questions_meet_all_of_them() {
    for arm in arms("languages") {
        let world = World::new(&arm).await;
        world
            .add("es", "Las devoluciones se aceptan durante treinta días con la boleta de compra.")
            .await;
        world
            .add(
                "en",
                "Returned products are accepted within thirty days with the purchase receipt.",
            )
            .await;
        world
            .add("pt", "As devoluções são aceitas em até trinta dias com a nota fiscal da compra.")
            .await;
        for (question, lang, expected) in [
            ("¿aceptan una devolución?", Lang::Es, "es"),
            ("do you accept returning a product?", Lang::En, "en"),
            ("vocês aceitam devolução com nota fiscal?", Lang::Pt, "pt"),
        ] {
            let results = world.search(question).await;
            assert_eq!(results.hits[0].live.source_name, expected, "{arm:?} {question}");
            assert_eq!(results.question.lang, lang, "{question}");
        }
    }
}

#[tokio::test]
async fn a_question_that_does_not_tell_its_language_takes_the_passages_one() {
    let world = World::new(&arms("language of the passages")[0]).await;
    world.add("en", "The opening hours are nine to five on every working day of the week.").await;
    assert_eq!(world.search("AN-4471").await.question.lang, Lang::En);
}

#[tokio::test]
async fn a_question_finds_passages_that_say_it_in_another_language_or_another_word() {
    for arm in arms("other words") {
        let world = World::new(&arm).await;
        world
            .add("tents", "Every tent withstands wind and rain. Poles and pegs come with it.")
            .await;
        world.add("refunds", "We send your money back within thirty days of the purchase.").await;
        world.add("carpas", "La carpa Nevado pesa cuatro kilos y resiste la lluvia.").await;
        world.add("celulares", "Cargamos tu móvil gratis mientras esperas en el local.").await;
        for (question, expected) in [
            ("¿me hacen un reembolso?", "refunds"),
            ("tienda de campaña nevado", "carpas"),
            ("cargar el celular", "celulares"),
            ("charge my cell phone", "celulares"),
            ("vocês devolvem o dinheiro? querem reembolso", "refunds"),
        ] {
            let results = world.search(question).await;
            assert_eq!(results.hits[0].live.source_name, expected, "{arm:?} {question}");
        }
        // What no passage says in any word is no evidence.
        let covered = world.search("¿me hacen un reembolso?").await.evidence;
        let absent = world.search("¿qué planetas tienen anillos?").await.evidence;
        assert!(absent < covered, "{arm:?} {absent} {covered}");
    }
}
