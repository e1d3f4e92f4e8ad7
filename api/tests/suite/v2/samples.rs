//! The samples of the specification's own text, character by character; only address and key are filled in.

use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use crate::events;
use crate::support::TestApp;

const CURL: &str = "curl -X POST .../sources/file \\
  -H \"Authorization: Bearer API_KEY\" \\
  -F \"file=@documento.pdf\"";

/// As in the text: no method, no key, no content type. `fetch` is given those by the prelude.
const JAVASCRIPT: &str = "const response = await fetch('.../chat', {
  headers: {
    'Accept': 'text/event-stream',
  },
  body: JSON.stringify({
    query: 'Contame sobre tus productos',
    streaming: true
  }),
});

const reader = response.body.getReader();
const decoder = new TextDecoder();

while (true) {
  const { done, value } = await reader.read();
  if (done) break;
  console.log(decoder.decode(value));
}";

#[tokio::test]
async fn the_curl_sample_uploads_a_document() {
    let app = TestApp::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("documento.pdf"), pdf("Nuestros horarios son de 9 a 18 hs."))
        .unwrap();
    let address = format!("{}{}", app.base, app.in_datastore(""));
    let command = CURL.replace("...", &address).replace("API_KEY", &app.tenant.key);
    let mut shell = Command::new("sh");
    let output = shell.arg("-c").arg(command).current_dir(folder.path()).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let accepted: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&accepted["name"], &accepted["type"]), (&json!("documento.pdf"), &json!("file")));
    assert_eq!(accepted["status"], "pending");
    let source = app.ingested(accepted["id"].as_str().unwrap()).await;
    assert_eq!(
        (&source["status"], &source["contentType"]),
        (&json!("ready"), &json!("application/pdf")),
        "{source}"
    );
    let found =
        app.post(&app.in_datastore("/query"), &json!({"query": "horarios"})).await.expect(200);
    assert_eq!(found["results"][0]["source"]["name"], "documento.pdf");
    assert_eq!(found["results"][0]["page"], 1);
}

#[tokio::test]
async fn the_javascript_sample_reads_the_stream() {
    let app = TestApp::start().await;
    app.learn("Catálogo", "Contamos con productos de ferretería. Sobre los productos: martillos, taladros y pinturas.").await;
    // A string body makes `fetch` say text/plain; bytes make it say nothing.
    for body in ["options.body", "new TextEncoder().encode(options.body)"] {
        let prelude = format!(
            "const fetch = (url, options) => globalThis.fetch(url.replace('...', '{}/api/v2/agent/{}'), {{\
               ...options, method: 'POST', body: {body},\
               headers: {{...options.headers, Authorization: 'Bearer {}'}}}});\n",
            app.base, app.tenant.agent, app.tenant.key
        );
        let mut node = Command::new("node");
        let node = node.args(["--input-type=module", "-e"]).arg(format!("{prelude}{JAVASCRIPT}"));
        let output = node.stdin(Stdio::null()).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        // `console.log` ends each piece with a line break of its own.
        let stream = printed.replace("\n\n\n", "\n\n");
        let events = events::parse(stream.trim_end());
        let done = events::check(&events);
        assert!(events.iter().any(|event| event.name == "source"), "{printed}");
        assert!(events.iter().any(|event| event.name == "token"), "{printed}");
        assert_eq!(done["sources"][0]["source"], "Catálogo");
    }
}

/// A one-page PDF with a line of text.
fn pdf(line: &str) -> Vec<u8> {
    let content = format!("BT /F1 18 Tf 72 720 Td ({line}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"
            .to_owned(),
    ];
    let mut file = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::new();
    for (place, object) in objects.iter().enumerate() {
        offsets.push(file.len());
        file.extend(format!("{} 0 obj\n{object}\nendobj\n", place + 1).into_bytes());
    }
    let table = file.len();
    file.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).into_bytes());
    for offset in offsets {
        file.extend(format!("{offset:010} 00000 n \n").into_bytes());
    }
    let end = format!(
        "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n",
        objects.len() + 1
    );
    file.extend(end.into_bytes());
    file
}
