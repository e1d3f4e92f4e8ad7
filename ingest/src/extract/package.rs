//! Zip packages (Office Open XML, EPUB), read within limits.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::{ExtractError, Format, xml};

/// Bytes that all parts of one package may inflate to.
const MAX_INFLATED_BYTES: u64 = 100 * 1024 * 1024;
/// Entries that a package may list.
const MAX_ENTRIES: usize = 1000;

/// What a zip archive is.
pub(super) enum PackageKind {
    /// One of ours.
    Known(Format),
    /// Some other archive.
    Other,
    /// Its list of entries cannot be read.
    Damaged,
}

/// Tells by the names of its entries what a zip archive is, without inflating anything but EPUB's
/// `mimetype`.
pub(super) fn kind(bytes: &[u8]) -> PackageKind {
    let Ok(mut package) = Package::open(bytes) else { return PackageKind::Damaged };
    if package
        .read("mimetype")
        .is_ok_and(|part| part.is_some_and(|part| part.starts_with(b"application/epub+zip")))
    {
        return PackageKind::Known(Format::Epub);
    }
    for (folder, format) in [("word/", Format::Docx), ("xl/", Format::Xlsx), ("ppt/", Format::Pptx)]
    {
        if package.names().any(|name| name.starts_with(folder)) {
            return PackageKind::Known(format);
        }
    }
    PackageKind::Other
}

/// A zip archive whose inflated bytes are counted over all its parts.
pub(super) struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    /// Real names by the form they are looked up in.
    names: HashMap<String, String>,
    inflated: u64,
}

impl<'a> Package<'a> {
    /// Reads the list of entries.
    ///
    /// Errors: `UNREADABLE` (damaged), `TOO_LARGE` (too many entries).
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, ExtractError> {
        // Asked before the list is read, so that a list of a million entries costs nothing.
        if listed_entries(bytes).is_some_and(|count| count > MAX_ENTRIES) {
            return Err(too_many_entries());
        }
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|_| damaged())?;
        if archive.len() > MAX_ENTRIES {
            return Err(too_many_entries());
        }
        let names = archive
            .file_names()
            .filter_map(|name| name.ok().map(std::borrow::Cow::into_owned))
            .map(|name| (key(&name), name))
            .collect();
        Ok(Self { archive, names, inflated: 0 })
    }

    /// The names of its parts, in lower case with `/` between folders.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// A part by its name (in any case); absent is `None`.
    ///
    /// Errors: `TOO_LARGE` when the package inflates to more than is read, `ENCRYPTED`, `UNREADABLE`.
    pub(super) fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, ExtractError> {
        let Some(name) = self.names.get(&key(name)) else { return Ok(None) };
        let part = self.archive.by_name(name).map_err(|error| match error {
            zip::result::ZipError::UnsupportedArchive(reason) if reason.contains("assword") => {
                ExtractError::encrypted()
            }
            _ => damaged(),
        })?;
        let left = MAX_INFLATED_BYTES - self.inflated;
        let mut bytes = Vec::new();
        part.take(left + 1).read_to_end(&mut bytes).map_err(|_| damaged())?;
        let length = bytes.len() as u64;
        if length > left {
            return Err(ExtractError::too_large("the file unpacks to more than 100 MiB"));
        }
        self.inflated += length;
        Ok(Some(bytes))
    }

    /// A part as text: UTF-8 or UTF-16, as XML allows.
    pub(super) fn read_text(&mut self, name: &str) -> Result<Option<String>, ExtractError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        super::encoding::decode(&bytes, None).map(Some)
    }

    /// The parts that `part` relates to: id → (type's last segment, absolute name). External targets
    /// (addresses) are left out: nothing outside of the package is ever read.
    pub(super) fn relations(
        &mut self,
        part: &str,
    ) -> Result<HashMap<String, Relation>, ExtractError> {
        let (folder, file) = part.rsplit_once('/').unwrap_or(("", part));
        let name = if folder.is_empty() {
            format!("_rels/{file}.rels")
        } else {
            format!("{folder}/_rels/{file}.rels")
        };
        let Some(text) = self.read_text(&name)? else { return Ok(HashMap::new()) };
        let mut relations = HashMap::new();
        xml::walk(&text, |event| {
            if let xml::Event::Start { name: "Relationship", element } = event {
                let is_external = element.attribute("TargetMode").is_some_and(|m| m == "External");
                if let (false, Some(id), Some(target)) =
                    (is_external, element.attribute("Id"), element.attribute("Target"))
                {
                    let kind = element.attribute("Type").unwrap_or_default();
                    let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
                    relations.insert(id, Relation { kind, target: resolve(folder, &target) });
                }
            }
            Ok(())
        })?;
        Ok(relations)
    }
}

/// One part related to another.
pub(super) struct Relation {
    /// The last segment of its type: `footnotes`, `slide`.
    pub(super) kind: String,
    /// The name of the part.
    pub(super) target: String,
}

/// A target relative to a folder inside the package; `..` cannot leave it.
pub(super) fn resolve(folder: &str, target: &str) -> String {
    let mut segments: Vec<&str> =
        if target.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for segment in target.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    segments.retain(|segment| !segment.is_empty());
    segments.join("/")
}

fn key(name: &str) -> String {
    name.replace('\\', "/").trim_start_matches('/').to_ascii_lowercase()
}

/// The number of entries that the end record names (APPNOTE 6.3.10, 4.3.16); 65,535 stands for more.
fn listed_entries(bytes: &[u8]) -> Option<usize> {
    let tail = &bytes[bytes.len().saturating_sub(22 + 65_535)..];
    let record = tail.windows(4).rposition(|window| window == b"PK\x05\x06")?;
    let count = tail.get(record + 10..record + 12)?;
    Some(usize::from(u16::from_le_bytes([count[0], count[1]])))
}

fn too_many_entries() -> ExtractError {
    ExtractError::too_large(&format!("the file has more than {MAX_ENTRIES} parts inside"))
}

fn damaged() -> ExtractError {
    ExtractError::unreadable("the file is damaged: its parts cannot be unpacked; upload it again")
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn targets_stay_inside_the_package() {
        assert_eq!(resolve("ppt/slides", "../notesSlides/n1.xml"), "ppt/notesSlides/n1.xml");
        assert_eq!(resolve("word", "/word/a.xml"), "word/a.xml");
        assert_eq!(resolve("word", "../../../etc/passwd"), "etc/passwd");
    }
}
