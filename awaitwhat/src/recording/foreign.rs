//! What a file is that is no recording.

/// Beginnings of files, and what these are.
const BEGINNINGS: [(&[u8], &str); 14] = [
    (b"\x1f\x8b", "compressed by gzip: `gunzip` it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: `zstd -d` it first"),
    (b"\xfd7zXZ\0", "compressed by xz: `xz -d` it first"),
    (b"BZh", "compressed by bzip2: `bunzip2` it first"),
    (b"PK\x03\x04", "a zip archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"PAR1", "a Parquet file"),
    (b"PERFILE2", "a recording of perf"),
    (b"<?xml", "an XML document, as a flame graph (SVG) is"),
    (b"<svg", "a picture (SVG), as a flame graph is"),
    (b"<!DOCTYPE html", "an HTML document"),
    (
        b"\x8eawait\n",
        "a recording whose ends of lines were changed: copy it as binary",
    ),
];

/// What a file is that begins with these bytes.
pub(super) fn what_is(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "empty".to_owned();
    }
    if let Some(rest) = bytes.strip_prefix(b"\x7fELF") {
        // The type, in the file's byte order (elf(5)).
        let kind = match (rest.get(1), rest.get(12..14)) {
            (Some(1), Some(kind)) => u16::from_le_bytes([kind[0], kind[1]]),
            (Some(2), Some(kind)) => u16::from_be_bytes([kind[0], kind[1]]),
            _ => 0,
        };
        let kind = match kind {
            4 => "a core file (ELF)",
            2 | 3 => "a program or a library (ELF)",
            _ => "an object file (ELF)",
        };
        return kind.to_owned();
    }
    let known = BEGINNINGS
        .iter()
        .find(|(beginning, _)| bytes.starts_with(beginning));
    if let Some((_, what)) = known {
        return (*what).to_owned();
    }
    if let Some(schema) = schema_of(bytes) {
        return format!("a result of awaitwhat as JSON (schema {schema}), and can be shown as it is");
    }
    let is_text = bytes
        .iter()
        .all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..));
    match bytes.first() {
        Some(b'{' | b'[') if is_text => "JSON".to_owned(),
        _ if is_text => "text".to_owned(),
        _ => "of no kind that is known here".to_owned(),
    }
}

/// The schema that a document of ours begins with.
fn schema_of(bytes: &[u8]) -> Option<&str> {
    let rest = bytes.strip_prefix(b"{\"schema\":\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    let schema = std::str::from_utf8(&rest[..end]).ok()?;
    let is_ours = schema.starts_with("awaitwhat.") && schema.bytes().all(|byte| byte.is_ascii_graphic());
    is_ours.then_some(schema)
}

#[cfg(test)]
mod tests {
    use super::what_is;

    #[test]
    fn files_are_known_by_their_beginnings() {
        let mut core = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0>\0".to_vec();
        for (bytes, what) in [
            (&b""[..], "empty"),
            (b"\x1f\x8b\x08", "compressed by gzip: `gunzip` it first"),
            (
                b"{\"schema\":\"awaitwhat.profile/1\",\"pid\":1",
                "a result of awaitwhat as JSON (schema awaitwhat.profile/1), and can be shown as it is",
            ),
            (b"{\"schema\":\"\x1b[31m\"", "of no kind that is known here"),
            (b"{\"a\": 1}", "JSON"),
            (b"python;main 12\n", "text"),
            (b"\0\x01\x02", "of no kind that is known here"),
            (b"<?xml version", "an XML document, as a flame graph (SVG) is"),
            (&core.clone(), "a core file (ELF)"),
        ] {
            assert_eq!(what_is(bytes), what);
        }
        core[16] = 3;
        assert_eq!(what_is(&core), "a program or a library (ELF)");
        core.truncate(5);
        assert_eq!(what_is(&core), "an object file (ELF)");
    }
}
