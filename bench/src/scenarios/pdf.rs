//! Text out of PDF pages, in the parser process that uploads go through.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::ensure;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::corpus::Corpus;
use crate::measure::Figure;

const PAGES: usize = 200;
const LINES: usize = 45;

pub async fn measure(binary: &Path) -> anyhow::Result<Vec<Figure>> {
    let file = pdf(PAGES);
    let one = parse(binary, &pdf(1)).await?;
    let all = parse(binary, &file).await?;
    Ok(vec![
        Figure::new("one page, process start included", one, "ms"),
        Figure::new("per page of a text PDF of 200 pages", all / PAGES as f64, "ms"),
    ])
}

/// Milliseconds of one run of `vocero parse-worker`.
async fn parse(binary: &Path, file: &[u8]) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut child = Command::new(binary)
        .arg("parse-worker")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or_else(|| anyhow::anyhow!("no stdin"))?;
    stdin.write_all(b"{\"format\":\"pdf\",\"name\":\"ficha.pdf\"}\n").await?;
    stdin.write_all(file).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let elapsed = started.elapsed().as_secs_f64() * 1_000.0;
    ensure!(output.status.success(), "the parser ended with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(text.contains(&crate::corpus::code(0)), "the parser found no text: {text:.300}");
    Ok(elapsed)
}

/// A plain text PDF: one font, one content stream a page.
fn pdf(pages: usize) -> Vec<u8> {
    let mut corpus = Corpus::new(7);
    let mut file = String::from("%PDF-1.4\n");
    let mut offsets = Vec::new();
    let mut add = |file: &mut String, body: &str| {
        offsets.push(file.len());
        let number = offsets.len();
        let _ = write!(file, "{number} 0 obj\n{body}\nendobj\n");
    };
    let kids: Vec<String> = (0..pages).map(|page| format!("{} 0 R", 4 + 2 * page)).collect();
    add(&mut file, "<< /Type /Catalog /Pages 2 0 R >>");
    add(&mut file, &format!("<< /Type /Pages /Kids [{}] /Count {pages} >>", kids.join(" ")));
    add(
        &mut file,
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    );
    for page in 0..pages {
        let content = page_content(&corpus.text(page, LINES * 80));
        add(
            &mut file,
            &format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {} 0 R \
                 /Resources << /Font << /F1 3 0 R >> >> >>",
                5 + 2 * page
            ),
        );
        add(&mut file, &format!("<< /Length {} >>\nstream\n{content}endstream", content.len()));
    }
    let start = file.len();
    let _ = write!(file, "xref\n0 {}\n0000000000 65535 f \n", offsets.len() + 1);
    for offset in &offsets {
        let _ = writeln!(file, "{offset:010} 00000 n ");
    }
    let _ = write!(
        file,
        "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n",
        offsets.len() + 1
    );
    file.into_bytes()
}

fn page_content(text: &str) -> String {
    let mut content = String::from("BT /F1 10 Tf 50 800 Td 14 TL\n");
    // Accented letters are left out: the file is written as ASCII.
    let plain: String = text.chars().filter(char::is_ascii).collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    for line in words.chunks(12) {
        let _ = writeln!(content, "({}) Tj T*", line.join(" "));
    }
    content.push_str("ET\n");
    content
}
