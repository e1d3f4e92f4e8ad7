//! What stands before and after a passage is told with it where there is room, and is cited as what it is.

use http::Method;
use serde_json::{Value, json};
use testkit::db::{TestDb, databases};
use testkit::model_server::{Endpoint, ModelServer, Reply as ModelReply};

use crate::events;
use crate::support::{PATIENCE, TestApp, read};

const ANIMALS: [&str; 24] = [
    "águila",
    "búho",
    "cóndor",
    "delfín",
    "erizo",
    "flamenco",
    "gacela",
    "halcón",
    "iguana",
    "jirafa",
    "koala",
    "lince",
    "mapache",
    "nutria",
    "ocelote",
    "pingüino",
    "quetzal",
    "rinoceronte",
    "suricata",
    "tucán",
    "urraca",
    "vicuña",
    "yacaré",
    "zorro",
];

const COLOURS: [&str; 3] = ["rojo", "azul", "verde"];
const PLACES: usize = ANIMALS.len() * COLOURS.len();

fn animal(place: usize) -> String {
    format!("{} {}", ANIMALS[place % ANIMALS.len()], COLOURS[place / ANIMALS.len()])
}

fn sentence(place: usize) -> String {
    format!("En el recinto {} vive el {} que cuidan dos personas.", 100 + place, animal(place))
}

/// The product with a document of many small chunks, each of which begins with the end of the one before.
struct Place {
    app: TestApp,
    model: ModelServer,
    chunks: Vec<Value>,
}

impl Place {
    async fn new(database: TestDb, chunk_tokens: usize) -> Self {
        let model = ModelServer::start().await.unwrap();
        let base_url = model.base_url().parse().unwrap();
        let app = TestApp::with(database, |settings| {
            settings.models.openai_base_url = Some(base_url);
            settings.models.chat_model = Some("gpt-test".to_owned());
            settings.ingest.chunk_tokens = chunk_tokens;
            settings.ingest.chunk_overlap = 20;
        })
        .await;
        let document: Vec<String> = (0..PLACES).map(sentence).collect();
        app.learn("Zoológico", &document.join(" ")).await;
        let listed = app.get(&app.in_datastore("/chunks?limit=100")).await.expect(200);
        let chunks = listed["data"].as_array().unwrap().clone();
        Self { app, model, chunks }
    }

    async fn agent(&self, top_k: u32) -> String {
        let tool = json!({
            "type": "http", "name": "book", "description": "Books a visit.", "method": "POST",
            "url": "https://visits.example/", "approval": true,
        });
        let body =
            json!({"name": "Guía", "tools": ["datastore", tool], "settings": {"topK": top_k}});
        self.app.post("/api/v2/agents", &body).await.expect(201)["id"].as_str().unwrap().to_owned()
    }

    async fn ask(&self, agent: &str, animal: &str) -> Value {
        let path = format!("/api/v2/agents/{agent}/chat");
        let body = json!({"query": format!("¿Dónde vive el {animal}?"), "streaming": true});
        let reply = read(self.app.request(Method::POST, &path).json(&body)).await;
        events::check(&events::parse(&reply.text))
    }

    /// The first passage as the model was told it last.
    fn told(&self) -> String {
        let requests = self.model.requests_to(Endpoint::Chat);
        let messages = requests.last().unwrap().body["messages"].as_array().unwrap().clone();
        let prompt = messages.iter().rev().find(|message| message["role"] == "user").unwrap();
        let prompt = prompt["content"].as_str().unwrap().to_owned();
        let start = prompt.find("[1]").unwrap();
        prompt[start..start + prompt[start..].find("</passage").unwrap()].to_owned()
    }

    /// The chunk that holds a sentence and no other chunk does, beside one that holds `animal`.
    fn beside(&self, animal: &str, step: i64) -> (&Value, String) {
        let text = |chunk: &Value| chunk["content"].as_str().unwrap().to_owned();
        let hit = self.chunks.iter().position(|chunk| text(chunk).contains(animal)).unwrap();
        let place = usize::try_from(i64::try_from(hit).unwrap() + step).unwrap();
        let only = (0..PLACES).map(sentence).find(|sentence| {
            let with = self.chunks.iter().filter(|chunk| text(chunk).contains(sentence.as_str()));
            with.count() == 1 && text(&self.chunks[place]).contains(sentence.as_str())
        });
        (&self.chunks[place], only.expect("a sentence of its own"))
    }

    /// That an answer cites that chunk, whose words open.
    async fn cites(&self, message: &Value, chunk: &Value, sentence: &str) {
        let path = format!("/api/v2/messages/{}/citations", message.as_str().unwrap());
        let opened = self.app.get(&path).await.expect(200)["data"].clone();
        assert_eq!(opened.as_array().unwrap().len(), 1, "{opened}");
        let open = &opened[0];
        assert_eq!((&open["index"], &open["chunkId"]), (&json!(1), &chunk["id"]), "{open}");
        assert_eq!((&open["passage"], &open["quote"]), (&chunk["content"], &json!(sentence)));
        let place =
            |name: &str| usize::try_from(open["highlight"][name].as_i64().unwrap()).unwrap();
        let passage = open["passage"].as_str().unwrap().chars();
        let marked: String =
            passage.skip(place("start")).take(place("end") - place("start")).collect();
        assert_eq!(marked, sentence);
    }
}

/// An animal that stands in one chunk only, which has neighbours on both sides.
fn lonely(chunks: &[Value]) -> String {
    let with = |animal: &str| {
        let holds = |chunk: &&Value| chunk["content"].as_str().unwrap().contains(animal);
        chunks.iter().filter(holds).count()
    };
    let middle = chunks[chunks.len() / 2]["content"].as_str().unwrap();
    let found = (0..PLACES).map(animal).find(|one| with(one) == 1 && middle.contains(one.as_str()));
    found.expect("chunks overlap by one sentence only")
}

#[tokio::test]
async fn a_passage_is_told_with_what_stands_around_it_and_cited_as_what_it_is() {
    for database in databases("neighbours").await {
        let place = Place::new(database, 80).await;
        assert!(place.chunks.len() >= 5, "{}", place.chunks.len());
        let animal = &lonely(&place.chunks);
        let agent = place.agent(1).await;
        for step in [-1, 0, 1] {
            let (chunk, sentence) = place.beside(animal, step);
            let reply = format!("{} [1].", sentence.trim_end_matches('.'));
            place.model.enqueue(ModelReply::text(&reply));
            let done = place.ask(&agent, animal).await;
            let told = place.told();
            for part in [-1, 0, 1] {
                let (_, own) = place.beside(animal, part);
                assert!(told.contains(&own), "{part}: {told}");
            }
            for sentence in (0..PLACES).map(self::sentence) {
                assert!(told.matches(&sentence).count() <= 1, "{sentence} stands twice: {told}");
            }
            assert!(done.get("unsupported").is_none(), "{done}");
            assert_eq!(done["sources"][0]["chunkId"], chunk["id"], "{done}");
            let message = done["messageId"].as_str().unwrap();
            let trace = place.app.get(&format!("/api/v2/messages/{message}/trace")).await;
            let beside = [("before", -1), ("after", 1)].map(|(name, step)| {
                json!({"place": name, "chunkId": place.beside(animal, step).0["id"]})
            });
            let traced = &trace.expect(200)["retrieval"]["hits"][0]["neighbours"];
            assert_eq!(traced, &json!(beside));
            place.cites(&done["messageId"], chunk, &sentence).await;
        }
        // A turn that waited for a person's word knows its passage as it was.
        let (chunk, sentence) = place.beside(animal, 1);
        place.model.enqueue(ModelReply::text("").tool_call("call_1", "book", &["{}"]));
        let waiting = place.ask(&agent, animal).await;
        assert_eq!(waiting["outcome"], "awaiting-approval", "{waiting}");
        let approvals = place.app.get("/api/v2/approvals?status=waiting").await.expect(200);
        let approval = approvals["data"][0]["id"].as_str().unwrap();
        place.model.enqueue(ModelReply::text(&format!("{} [1].", sentence.trim_end_matches('.'))));
        let path = format!("/api/v2/approvals/{approval}");
        place.app.post(&path, &json!({"decision": "deny"})).await.expect(202);
        let mut wakeups = place.app.db.wakeups();
        let decided = async {
            loop {
                let decided = place.app.get(&path).await.expect(200);
                if decided["answerId"].is_string() {
                    return decided["answerId"].clone();
                }
                crate::support::woken(&mut wakeups).await;
            }
        };
        let answer = tokio::time::timeout(PATIENCE, decided).await.expect("it goes on");
        place.cites(&answer, chunk, &sentence).await;
    }
}

#[tokio::test]
async fn what_is_large_already_or_a_passage_of_its_own_is_not_joined() {
    for database in databases("no neighbours").await {
        // Two of 200 tokens leave no room for a third.
        let place = Place::new(database, 200).await;
        let animal = &lonely(&place.chunks);
        let agent = place.agent(1).await;
        place.model.enqueue(ModelReply::text("No sé [1]."));
        place.ask(&agent, animal).await;
        let (_, after) = place.beside(animal, 1);
        assert!(!place.told().contains(&after), "{}", place.told());
        // All are passages: none of them stands in another one, too.
        let agent = place.agent(10).await;
        place.model.enqueue(ModelReply::text("No sé [1]."));
        place.ask(&agent, animal).await;
        let requests = place.model.requests_to(Endpoint::Chat);
        let prompt = requests.last().unwrap().body["messages"].to_string();
        assert_eq!(prompt.matches("<passage").count(), place.chunks.len());
        assert_eq!(prompt.matches(&after).count(), 1, "{prompt}");
    }
}
