//! What a file is that is not what it should be: so that whoever mixed up two files is told so.

use serde::Deserialize;

/// Characters of a file that an error cites.
const MAX_CITED: usize = 200;
/// Bytes of a text that are looked at.
const MAX_LOOK: usize = 4096;

/// How files begin that are no text.
const BEGINNINGS: [(&[u8], &str); 12] = [
    (
        b"\x1f\x8b",
        "a file that gzip has compressed (perhaps a profile for pprof)",
    ),
    (b"\x28\xb5\x2f\xfd", "a file that zstd has compressed"),
    (b"\xfd7zXZ\0", "a file that xz has compressed"),
    (b"BZh", "a file that bzip2 has compressed"),
    (
        b"\x8eawait\r\n",
        "a recording (`awaitwhat report -f json` makes a profile of it)",
    ),
    (
        b"\x8eawait\n",
        "a recording whose ends of lines were changed: copy it as binary",
    ),
    (b"%PDF", "a document (PDF)"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"PAR1", "a table (Parquet)"),
    (b"PERFILE2", "a recording of perf"),
    (b"PK\x03\x04", "an archive (zip)"),
    (b"SQLite format 3\0", "a database (SQLite)"),
];

/// What keys of a JSON document tell what it is.
#[derive(Deserialize)]
struct Keys {
    schema: Option<serde_json::Value>,
    #[serde(rename = "$schema")]
    foreign: Option<serde_json::Value>,
    #[serde(rename = "traceEvents")]
    events: Option<serde::de::IgnoredAny>,
}

/// Says what a file is that begins with these bytes, or is them.
pub fn of(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "an empty file".to_owned();
    }
    if let Some(rest) = bytes.strip_prefix(b"\x7fELF") {
        return elf(rest).to_owned();
    }
    let beginning = BEGINNINGS.iter().find(|(start, _)| bytes.starts_with(start));
    if let Some((_, what)) = beginning {
        return (*what).to_owned();
    }
    let head = bytes.get(..MAX_LOOK).unwrap_or(bytes);
    // A character may be cut in two at the end.
    let is_text = match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && bytes.len() > MAX_LOOK,
    };
    if !is_text || head.contains(&0) {
        return "a binary file".to_owned();
    }
    text(&String::from_utf8_lossy(head))
}

/// What an ELF file is, by its type in its own byte order (elf(5)); without the four bytes that it begins with.
fn elf(rest: &[u8]) -> &'static str {
    let kind = match (rest.get(1), rest.get(12..14)) {
        (Some(1), Some(kind)) => u16::from_le_bytes([kind[0], kind[1]]),
        (Some(2), Some(kind)) => u16::from_be_bytes([kind[0], kind[1]]),
        _ => 0,
    };
    match kind {
        2 | 3 => "a program or a library (ELF)",
        4 => "a core file (ELF)",
        _ => "an object file (ELF)",
    }
}

/// What a text is, by how it begins.
fn text(head: &str) -> String {
    let start = head.trim_start();
    if start.starts_with(['{', '[']) {
        return beginning_of_json(start);
    }
    text_without_json(start).to_owned()
}

/// What JSON is that may be cut: our own documents begin with their schema.
fn beginning_of_json(start: &str) -> String {
    let schema = start
        .strip_prefix("{\"schema\":\"")
        .and_then(|rest| rest.split_once('"'))
        .map(|(schema, _)| schema);
    match schema {
        Some(schema) => of_schema(&shortened(schema)),
        None => "JSON".to_owned(),
    }
}

fn text_without_json(start: &str) -> &'static str {
    let is = |beginning: &str| {
        let start = start.get(..beginning.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(beginning))
    };
    if is("<?xml") || is("<svg") {
        return "a picture (SVG), perhaps a flame graph";
    }
    if is("<!doctype html") || is("<html") {
        return "a web page (HTML)";
    }
    if is("Process ") && start.contains("(CPython ") {
        return "a summary, which is for people";
    }
    if is_folded(start.lines().next().unwrap_or_default()) {
        return "folded stacks";
    }
    if start.is_empty() {
        return "a file of nothing but white space";
    }
    "a text that is no JSON"
}

/// Whether a line is one of folded stacks: frames, then a space and a number.
fn is_folded(line: &str) -> bool {
    let (stack, weight) = line.rsplit_once(' ').unwrap_or_default();
    !stack.is_empty() && !weight.is_empty() && weight.bytes().all(|byte| byte.is_ascii_digit())
}

/// Says what a JSON document is that is no profile of awaitwhat: what it says of itself.
pub fn json(text: &str) -> String {
    let Ok(keys) = serde_json::from_str::<Keys>(text) else {
        return "JSON, but no object of a sensible depth".to_owned();
    };
    let word =
        |value: &Option<serde_json::Value>| value.as_ref().and_then(|it| it.as_str().map(str::to_owned));
    let word = |value: &Option<serde_json::Value>| word(value).map(|it| shortened(&it));
    match (word(&keys.schema), word(&keys.foreign)) {
        (Some(schema), _) => of_schema(&schema),
        (None, Some(schema)) if schema.contains("speedscope") => "a profile for speedscope".to_owned(),
        (None, Some(schema)) => format!("JSON of the schema {schema:?}"),
        (None, None) if keys.events.is_some() => "a trace for Chrome or Perfetto".to_owned(),
        (None, None) => "JSON that does not say what it is (it has no `schema`)".to_owned(),
    }
}

fn of_schema(schema: &str) -> String {
    match known(schema) {
        Some(what) => format!("{what} (schema {schema:?})"),
        None => format!("JSON of the schema {schema:?}"),
    }
}

/// A text that an error cites, cut where it is long: errors cite what is in a file, and that may be anything.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_CITED) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What awaitwhat itself writes, by the first part of its schema.
fn known(schema: &str) -> Option<&'static str> {
    let (name, _) = schema.split_once('/')?;
    Some(match name {
        "awaitwhat.profile" | "awaitwhat.profiles" => "a profile, as `trace --format json` writes it",
        "awaitwhat.snapshot" => "a snapshot of one moment, as `ps --json` writes it",
        "awaitwhat.snapshots" => "snapshots of several processes, as `ps --json` writes them",
        "awaitwhat.graph" => "a graph of one moment, as `graph` writes it",
        "awaitwhat.why" => "an answer of `why`",
        "awaitwhat.diff" => "a comparison that was made already",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elf_files_are_of_several_kinds() {
        let mut core = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0>\0".to_vec();
        assert_eq!(of(&core), "a core file (ELF)");
        core[16] = 3;
        assert_eq!(of(&core), "a program or a library (ELF)");
        core.truncate(5);
        assert_eq!(of(&core), "an object file (ELF)");
    }

    #[test]
    fn files_are_called_what_they_are() {
        let cases: [(&[u8], &str); 16] = [
            (b"", "an empty file"),
            (b" \n", "a file of nothing but white space"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"\x7fELF\x02", "ELF"),
            (b"a\0b", "a binary file"),
            (b"\x8eawait\r\n\x01", "a recording (`awaitwhat report"),
            (b"{\"a\": 1", "JSON"),
            (
                b"{\"schema\":\"awaitwhat.profile/1\",\"pid\":1",
                "a profile, as `trace --format json` writes it (schema \"awaitwhat.profile/1\")",
            ),
            (b"{\"schema\":\"\x1b[31m\"", "JSON of the schema \"\\u{1b}[31m\""),
            (b"\xff\xfe{", "a binary file"),
            (b"<?xml version='1.0'?>", "SVG"),
            (b"\n<!DOCTYPE HTML>", "HTML"),
            (b"main (/a.py:1);[Future] 12\nx 3\n", "folded stacks"),
            (b"Process 7 (CPython 3.12.1), traced for 1.0 s\n", "a summary"),
            ("Gr\u{fc}\u{df}e".as_bytes(), "a text that is no JSON"),
            (b"PK\x03\x04", "zip"),
        ];
        for (bytes, what) in cases {
            assert!(of(bytes).contains(what), "{bytes:?}: {}", of(bytes));
        }
        let mut long = "\u{e4}".repeat(MAX_LOOK);
        long.insert(0, 'a');
        assert_eq!(of(long.as_bytes()), "a text that is no JSON");
    }

    #[test]
    fn documents_are_called_what_they_say() {
        for (text, what) in [
            ("[]", "no object"),
            ("{}", "does not say what it is"),
            (r#"{"schema":7}"#, "does not say what it is"),
            (r#"{"schema":"awaitwhat.snapshot/1"}"#, "a snapshot of one moment"),
            (r#"{"schema":"other/1"}"#, r#"JSON of the schema "other/1""#),
            (r#"{"traceEvents":[]}"#, "Perfetto"),
            (
                r#"{"$schema":"https://www.speedscope.app/file-format-schema.json"}"#,
                "speedscope",
            ),
        ] {
            assert!(json(text).contains(what), "{text}: {}", json(text));
        }
    }
}
