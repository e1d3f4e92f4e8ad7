//! Each format, from bytes made here, through the real parser process; then hostile ones.

use std::io::Write;

use ingest::extract::{self, Format, Input};
use proptest::prelude::*;
use zip::write::SimpleFileOptions;

use crate::support::{extract_as, ingest, package, pool};

const WORD: &str = "xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\"";
const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const RELS: &str = "xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"";

fn docx(body: &str) -> Vec<u8> {
    docx_with(body, &[])
}

fn docx_with(body: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let document =
        format!("<?xml version=\"1.0\"?><w:document {WORD}><w:body>{body}</w:body></w:document>");
    let rels = format!(
        "<Relationships {RELS}><Relationship Id=\"a\" Type=\"{OFFICE}/officeDocument\" Target=\"word/document.xml\"/></Relationships>"
    );
    let mut parts = vec![("_rels/.rels", rels.as_str()), ("word/document.xml", document.as_str())];
    parts.extend(more);
    package(&parts)
}

fn paragraph(text: &str) -> String {
    format!("<w:p><w:r><w:t>{text}</w:t></w:r></w:p>")
}

#[tokio::test]
async fn word_keeps_headings_lists_tables_notes_and_text_boxes() {
    let body = format!(
        "<w:p><w:pPr><w:pStyle w:val=\"Ttulo1\"/></w:pPr><w:r><w:t>Envíos</w:t></w:r></w:p>\
         <w:p><w:r><w:t xml:space=\"preserve\">Cuestan </w:t></w:r><w:r><w:rPr><w:b/></w:rPr><w:t>3.990</w:t></w:r>\
         <w:r><w:t> pesos.</w:t><w:footnoteReference w:id=\"2\"/></w:r><w:del><w:r><w:delText>no</w:delText></w:r></w:del></w:p>\
         <w:p><w:pPr><w:numPr><w:ilvl w:val=\"0\"/><w:numId w:val=\"1\"/></w:numPr></w:pPr><w:r><w:t>Uno</w:t></w:r></w:p>\
         <w:p><w:pPr><w:numPr><w:ilvl w:val=\"0\"/><w:numId w:val=\"1\"/></w:numPr></w:pPr><w:r><w:t>Dos</w:t></w:r></w:p>\
         <w:tbl><w:tr><w:tc>{}</w:tc><w:tc>{}</w:tc></w:tr><w:tr><w:tc>{}</w:tc><w:tc>{}</w:tc></w:tr></w:tbl>\
         <w:p><w:r><AlternateContent><Choice><w:txbxContent>{}</w:txbxContent></Choice><Fallback><w:txbxContent>{}</w:txbxContent></Fallback></AlternateContent></w:r></w:p>\
         <w:p><w:r><w:rPr><w:vanish/></w:rPr><w:t>oculto</w:t></w:r></w:p>",
        paragraph("Zona"),
        paragraph("Precio"),
        paragraph("Centro"),
        paragraph("0"),
        paragraph("En la caja"),
        paragraph("En la caja"),
    );
    let rels = format!(
        "<Relationships {RELS}><Relationship Id=\"s\" Type=\"{OFFICE}/styles\" Target=\"styles.xml\"/>\
         <Relationship Id=\"n\" Type=\"{OFFICE}/numbering\" Target=\"numbering.xml\"/>\
         <Relationship Id=\"f\" Type=\"{OFFICE}/footnotes\" Target=\"footnotes.xml\"/>\
         <Relationship Id=\"h\" Type=\"{OFFICE}/header\" Target=\"header1.xml\"/>\
         <Relationship Id=\"x\" Type=\"{OFFICE}/header\" Target=\"http://127.0.0.1/x\" TargetMode=\"External\"/></Relationships>"
    );
    let styles = format!(
        "<w:styles {WORD}><w:style w:styleId=\"Ttulo1\"><w:name w:val=\"heading 1\"/></w:style></w:styles>"
    );
    let numbering = format!(
        "<w:numbering {WORD}><w:abstractNum w:abstractNumId=\"0\"><w:lvl w:ilvl=\"0\"><w:numFmt w:val=\"decimal\"/></w:lvl></w:abstractNum>\
         <w:num w:numId=\"1\"><w:abstractNumId w:val=\"0\"/></w:num></w:numbering>"
    );
    let notes = format!(
        "<w:footnotes {WORD}><w:footnote w:type=\"separator\" w:id=\"0\">{}</w:footnote><w:footnote w:id=\"2\">{}</w:footnote></w:footnotes>",
        paragraph("x"),
        paragraph("Gratis desde 40.000.")
    );
    let header = format!("<w:hdr {WORD}>{}</w:hdr>", paragraph("Manual interno"));
    let bytes = docx_with(
        &body,
        &[
            ("word/_rels/document.xml.rels", &rels),
            ("word/styles.xml", &styles),
            ("word/numbering.xml", &numbering),
            ("word/footnotes.xml", &notes),
            ("word/header1.xml", &header),
        ],
    );
    let document = ingest(&pool(), "manual.docx", bytes).await.unwrap();
    assert_eq!(
        document.text,
        "Manual interno\n\n# Envíos\n\nCuestan 3.990 pesos.\n\nGratis desde 40.000.\n\n1. Uno\n2. Dos\n\n\
         Zona\tPrecio\nCentro\t0\n\nEn la caja"
    );
    assert!(document.mime.ends_with("wordprocessingml.document"));
}

fn xlsx(sheet: &str) -> Vec<u8> {
    let main = "xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"";
    let workbook = format!(
        "<workbook {main} xmlns:r=\"{OFFICE}\"><sheets><sheet name=\"Precios\" sheetId=\"1\" r:id=\"r1\"/></sheets></workbook>"
    );
    let root = format!(
        "<Relationships {RELS}><Relationship Id=\"a\" Type=\"{OFFICE}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
    );
    let rels = format!(
        "<Relationships {RELS}><Relationship Id=\"r1\" Type=\"{OFFICE}/worksheet\" Target=\"worksheets/sheet1.xml\"/></Relationships>"
    );
    let sheet = format!("<worksheet {main}>{sheet}</worksheet>");
    package(&[
        ("_rels/.rels", &root),
        ("xl/workbook.xml", &workbook),
        ("xl/_rels/workbook.xml.rels", &rels),
        ("xl/worksheets/sheet1.xml", &sheet),
    ])
}

#[tokio::test]
async fn every_row_of_a_workbook_names_its_columns() {
    let text = |cell: &str, words: &str| {
        format!("<c r=\"{cell}\" t=\"inlineStr\"><is><t>{words}</t></is></c>")
    };
    let sheet = format!(
        "<sheetData><row r=\"1\">{}{}</row><row r=\"2\">{}<c r=\"B2\"><v>12990.5</v></c></row></sheetData>",
        text("A1", "Torta"),
        text("B1", "Precio"),
        text("A2", "Mora &amp; nuez"),
    );
    let document = ingest(&pool(), "lista.xlsx", xlsx(&sheet)).await.unwrap();
    assert_eq!(document.text, "# Precios\n\n- Torta: Mora & nuez; Precio: 12990.5");
}

#[tokio::test]
async fn two_cells_far_apart_do_not_make_a_table_of_billions() {
    let sheet = "<dimension ref=\"A1:XFD1048576\"/><sheetData><row r=\"1\"><c r=\"A1\"><v>1</v></c></row>\
                 <row r=\"1048576\"><c r=\"A1048576\"><v>2</v></c></row></sheetData>";
    let document = ingest(&pool(), "a.xlsx", xlsx(sheet)).await.unwrap();
    assert_eq!(document.text, "# Precios\n\n- 1\n- 2");
}

#[tokio::test]
async fn slides_are_pages_with_their_notes() {
    let draw = "xmlns:a=\"http://schemas.openxmlformats.org/drawingml/2006/main\" xmlns:p=\"http://schemas.openxmlformats.org/presentationml/2006/main\"";
    let shape = |kind: &str, text: &str| {
        format!(
            "<p:sp><p:nvPr><p:ph {kind}/></p:nvPr><p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>"
        )
    };
    let slide = |title: &str, item: &str| {
        format!(
            "<p:sld {draw}>{}{}{}</p:sld>",
            shape("type=\"title\"", title),
            shape("idx=\"1\"", item),
            shape("type=\"sldNum\"", "7")
        )
    };
    let presentation = format!(
        "<p:presentation {draw} xmlns:r=\"{OFFICE}\"><p:sldIdLst><p:sldId id=\"9\" r:id=\"b\"/><p:sldId id=\"8\" r:id=\"a\"/></p:sldIdLst></p:presentation>"
    );
    let rels = format!(
        "<Relationships {RELS}><Relationship Id=\"a\" Type=\"{OFFICE}/slide\" Target=\"slides/slide1.xml\"/>\
         <Relationship Id=\"b\" Type=\"{OFFICE}/slide\" Target=\"slides/slide2.xml\"/></Relationships>"
    );
    let notes_rels = format!(
        "<Relationships {RELS}><Relationship Id=\"n\" Type=\"{OFFICE}/notesSlide\" Target=\"../notesSlides/n1.xml\"/></Relationships>"
    );
    let notes = format!("<p:notes {draw}>{}</p:notes>", shape("type=\"body\"", "Decirlo despacio"));
    let bytes = package(&[
        ("ppt/presentation.xml", &presentation),
        ("ppt/_rels/presentation.xml.rels", &rels),
        ("ppt/slides/slide1.xml", &slide("Cierre", "Gracias")),
        ("ppt/slides/slide2.xml", &slide("Apertura", "Bienvenida")),
        ("ppt/slides/_rels/slide2.xml.rels", &notes_rels),
        ("ppt/notesSlides/n1.xml", &notes),
    ]);
    let document = ingest(&pool(), "charla.pptx", bytes).await.unwrap();
    let expected = "# Apertura\n\n- Bienvenida\n\n- Decirlo despacio\n\n# Cierre\n\n- Gracias";
    assert_eq!(document.text, expected);
    let second = expected.chars().take_while(|c| *c != 'C').count() - 2;
    assert_eq!(document.pages, [0, i64::try_from(second).unwrap()]);
}

#[tokio::test]
async fn chapters_come_in_the_order_of_the_spine() {
    let container =
        "<container><rootfiles><rootfile full-path=\"OEBPS/b.opf\"/></rootfiles></container>";
    let opf = "<package xmlns:dc=\"d\"><metadata><dc:title>El libro</dc:title></metadata><manifest>\
        <item id=\"c1\" href=\"uno%201.xhtml\"/><item id=\"c2\" href=\"dos.xhtml\"/></manifest>\
        <spine><itemref idref=\"c2\"/><itemref idref=\"c1\"/></spine></package>";
    let bytes = package(&[
        ("mimetype", "application/epub+zip"),
        ("META-INF/container.xml", container),
        ("OEBPS/b.opf", opf),
        ("OEBPS/uno 1.xhtml", "<!DOCTYPE html><html><body><h1>Fin</h1><p>Ñandú.</p></body></html>"),
        ("OEBPS/dos.xhtml", "<html><body><h1>Inicio</h1><p>Hola.</p></body></html>"),
    ]);
    let document = ingest(&pool(), "libro.epub", bytes).await.unwrap();
    assert_eq!(document.title.as_deref(), Some("El libro"));
    assert_eq!(document.text, "# Inicio\n\nHola.\n\n# Fin\n\nÑandú.");
    assert_eq!(document.pages, [0, 17]);
}

#[tokio::test]
async fn a_mail_tells_who_wrote_what_and_names_its_attachments() {
    let mail = "From: =?utf-8?Q?Jos=C3=A9?= <jose@ejemplo.cl>\r\nTo: ventas@ejemplo.cl\r\nSubject: =?utf-8?Q?Garant=C3=ADa?=\r\n\
        Date: Fri, 20 Nov 2026 10:00:00 -0300\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
        --x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>La garant\u{ed}a dura <b>75 d\u{ed}as</b>.</p><script>no</script>\r\n\
        --x\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=boleta.pdf\r\n\r\nx\r\n--x--\r\n";
    let document = ingest(&pool(), "a.eml", mail.to_owned()).await.unwrap();
    assert_eq!(document.title.as_deref(), Some("Garantía"));
    for wanted in [
        "# Garantía",
        "From: José <jose@ejemplo.cl>",
        "Date: 2026-11-20T10:00:00-03:00",
        "La garantía dura 75 días.",
        "Attachment: boleta.pdf",
    ] {
        assert!(document.text.contains(wanted), "{wanted} is missing in {}", document.text);
    }
    assert!(!document.text.contains("no\n"), "{}", document.text);
}

#[tokio::test]
async fn tables_of_any_delimiter_and_encoding_are_rows_with_headers() {
    let expected = "- Torta: Año nuevo; Precio: 12,5";
    let latin = b"Torta;Precio\r\nA\xF1o nuevo;12,5\r\n".to_vec();
    let tabs = "Torta\tPrecio\nAño nuevo\t12,5\n".as_bytes().to_vec();
    let quoted = "\u{FEFF}Torta,Precio\n\"Año\nnuevo\",\"12,5\"\n".as_bytes().to_vec();
    for bytes in [latin, tabs, quoted] {
        assert_eq!(extract_as(Format::Csv, bytes).await.unwrap().text, expected);
    }
}

#[tokio::test]
async fn json_lines_are_records() {
    let lines = "{\"q\":\"¿Abren?\",\"a\":\"Sí\"}\n\n{\"q\":\"¿Dónde?\",\"a\":\"Centro\"}\n";
    let document = ingest(&pool(), "faq.jsonl", lines).await.unwrap();
    assert_eq!(document.text, "q: ¿Abren?\na: Sí\n\nq: ¿Dónde?\na: Centro");
    let error = ingest(&pool(), "faq.jsonl", "{\"a\":1}\n{").await.unwrap_err();
    assert!(error.message.contains("line 2"), "{error}");
}

#[tokio::test]
async fn pages_lose_their_frame_and_keep_what_visitors_unfold() {
    let page = "<html><head><title>Ayuda</title><style>p{}</style></head><body><nav>Inicio</nav>\
        <h2><button aria-expanded=false>¿Hacen envíos?</button></h2><div class=accordion-panel hidden><p>Sí, a todo Chile.</div>\
        <div style='display: none'>Oferta secreta</div><footer>Derechos</footer><script>alert(1)</script></body></html>";
    let document = ingest(&pool(), "ayuda.html", page).await.unwrap();
    assert_eq!(document.text, "## ¿Hacen envíos?\n\nSí, a todo Chile.");
    assert_eq!(document.title.as_deref(), Some("Ayuda"));
}

#[tokio::test]
async fn text_is_cleaned_of_what_no_reader_must_get() {
    let document =
        ingest(&pool(), "a.txt", "nul\0 \u{202E}bidi\u{2066} cafe\u{301}\r\nfin").await.unwrap();
    assert_eq!(document.text, "nul bidi café\nfin");
    let lone = extract_as(Format::Text, b"mal \xFF utf-8 con suficiente texto alrededor".to_vec())
        .await
        .unwrap();
    assert!(lone.text.contains("con suficiente texto"));
    for empty in ["", " \n\t", "\u{FEFF}"] {
        assert_eq!(extract_as(Format::Text, empty).await.unwrap_err().code, "EMPTY", "{empty:?}");
    }
}

/// A PDF of one page with the given content stream; offsets in its table of objects are right.
fn pdf(content: &str) -> Vec<u8> {
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>".to_owned(),
        format!("<</Length {}>>stream\n{content}\nendstream", content.len()),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>".to_owned(),
    ];
    let mut bytes = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        offsets.push(bytes.len());
        writeln!(bytes, "{} 0 obj{object}endobj", index + 1).unwrap();
    }
    let table = bytes.len();
    write!(bytes, "xref\n0 6\n0000000000 65535 f \n").unwrap();
    for offset in offsets {
        writeln!(bytes, "{offset:010} 00000 n ").unwrap();
    }
    write!(bytes, "trailer<</Size 6/Root 1 0 R>>\nstartxref\n{table}\n%%EOF").unwrap();
    bytes
}

#[tokio::test]
async fn a_pdf_gives_headings_and_whole_sentences() {
    let content = "BT /F 24 Tf 50 780 Td (Horarios) Tj ET \
        BT /F 11 Tf 50 740 Td (Las reservas se hacen con veinticuatro horas de antici-) Tj \
        0 -13 Td (paci\\363n y se pagan al retirar el pedido en la tienda.) Tj ET";
    let pool = pool().without_pdftotext();
    let document = ingest(&pool, "a.pdf", pdf(content)).await.unwrap();
    assert_eq!(
        document.text,
        "# Horarios\n\nLas reservas se hacen con veinticuatro horas de anticipación y se pagan al retirar el \
         pedido en la tienda."
    );
    assert_eq!(document.pages, [0]);
}

#[tokio::test]
async fn a_pdf_without_a_text_layer_asks_for_ocr() {
    let error = ingest(&pool(), "escaneado.pdf", pdf("0 0 100 100 re f")).await.unwrap_err();
    assert_eq!(error.code, "NEEDS_OCR");
    assert!(error.message.contains("OCR"));
}

#[tokio::test]
async fn a_page_that_draws_itself_without_end_is_stopped() {
    let objects = "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n\
        3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R/Resources<</XObject<</X 4 0 R>>>>>>endobj\n\
        4 0 obj<</Type/XObject/Subtype/Form/Resources<</XObject<</X 4 0 R>>>>/Length 5>>stream\n/X Do\nendstream endobj\n";
    let offset = |what: &str| objects.find(what).unwrap();
    let table = format!(
        "xref\n0 5\n0000000000 65535 f \n{:010} 00000 n \n{:010} 00000 n \n{:010} 00000 n \n{:010} 00000 n \n\
         trailer<</Size 5/Root 1 0 R>>\nstartxref\n{}\n%%EOF",
        offset("1 0 obj"),
        offset("2 0 obj"),
        offset("3 0 obj"),
        offset("4 0 obj"),
        objects.len()
    );
    let pool = pool().without_pdftotext();
    let error = ingest(&pool, "a.pdf", format!("{objects}{table}")).await.unwrap_err();
    assert!(["PARSER_LIMIT", "UNREADABLE"].contains(&error.code.as_str()), "{error:?}");
    assert!(!error.retry);
}

/// A package whose one part inflates to `megabytes` of spaces inside of a paragraph.
fn bomb(name: &str, megabytes: usize) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file(name, SimpleFileOptions::default()).unwrap();
    let spaces = vec![b' '; 1 << 20];
    for _ in 0..megabytes {
        zip.write_all(&spaces).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[tokio::test]
async fn packages_that_unpack_to_too_much_are_refused() {
    for (name, part) in [
        ("a.docx", "word/document.xml"),
        ("a.xlsx", "xl/workbook.xml"),
        ("a.pptx", "ppt/presentation.xml"),
    ] {
        let bytes = bomb(part, 101);
        assert!(bytes.len() < 1 << 20, "a bomb is small: {}", bytes.len());
        assert_eq!(ingest(&pool(), name, bytes).await.unwrap_err().code, "TOO_LARGE", "{name}");
    }
    let many: Vec<(String, &str)> = (0..1001).map(|i| (format!("word/{i}.xml"), "")).collect();
    let many: Vec<(&str, &str)> =
        many.iter().map(|(name, content)| (name.as_str(), *content)).collect();
    let error = pool().extract(Format::Docx, "a.docx", package(&many).into()).await.unwrap_err();
    assert_eq!(error.code, "TOO_LARGE");
}

#[tokio::test]
async fn xml_with_entities_or_without_end_is_refused() {
    let xxe = format!(
        "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><w:document {WORD}><w:body>{}</w:body></w:document>",
        paragraph("&e;")
    );
    let laughs = format!(
        "<!DOCTYPE x [<!ENTITY a \"ja\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]><w:document {WORD}>{}</w:document>",
        paragraph("&b;")
    );
    let deep = format!("<w:document {WORD}>{}", "<w:p>".repeat(100_000));
    for document in [xxe, laughs, deep] {
        let error = ingest(&pool(), "a.docx", package(&[("word/document.xml", &document)]))
            .await
            .unwrap_err();
        assert_eq!(error.code, "UNREADABLE");
    }
}

#[tokio::test]
async fn deep_or_unclosed_html_ends_in_text() {
    let deep = format!("{}centro{}", "<div><b><table><td>".repeat(50_000), "</div>".repeat(50_000));
    let formats = format!("{}centro", "<p><b><i><font color=red><a href=x>".repeat(20_000));
    let attributes = format!("<p {}>centro</p>", "a=b ".repeat(200_000));
    for page in [deep, formats, attributes] {
        let document = extract_as(Format::Html, page).await.unwrap();
        assert!(document.text.contains("centro"));
    }
}

#[tokio::test]
async fn cut_and_renamed_files_are_refused_with_the_remedy() {
    let whole = docx(&paragraph("hola"));
    let cut = whole[..whole.len() / 2].to_vec();
    assert_eq!(ingest(&pool(), "a.docx", cut).await.unwrap_err().code, "UNREADABLE");
    let error = ingest(&pool(), "a.zip", package(&[("x", "y")])).await.unwrap_err();
    assert_eq!(error.code, "UNSUPPORTED_TYPE");
    assert!(error.message.contains("accepted types are pdf"), "{error}");
    // The name is only a name.
    assert_eq!(ingest(&pool(), "a.pdf", whole).await.unwrap().text, "hola");
}

#[tokio::test]
async fn more_text_than_is_kept_is_refused() {
    let text = "palabras y más palabras.\n".repeat(1 << 20);
    assert_eq!(extract_as(Format::Text, text).await.unwrap_err().code, "TOO_LARGE");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_string_breaks_a_text_parser(text in "(?s).{0,400}|([<>/a-z=\"'&;|,#\\[\\]{}:\n -]|<table>|<td>|</p>|<li>|<svg>){0,200}") {
        for format in [Format::Csv, Format::Html, Format::Json, Format::Jsonl, Format::Markdown, Format::Text, Format::Eml] {
            let input = Input { format, charset: None, bytes: text.as_bytes() };
            if let Ok(document) = extract::extract(input) {
                prop_assert!(!document.text.trim().is_empty());
                prop_assert_eq!(&document.text, &domain::text::sanitize(&document.text));
            }
        }
    }

    #[test]
    fn no_bytes_break_detection(name in ".{0,20}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for start in [&b""[..], b"PK\x03\x04", b"%PDF-", b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", b"\xFF\xFE"] {
            let bytes: Vec<u8> = start.iter().chain(&bytes).copied().collect();
            if let Err(error) = extract::detect(&name, &bytes) {
                prop_assert!(!error.retry && !error.message.is_empty());
            }
        }
    }
}
