//! Who reads memory of user space: each helper for that has one file, so that no program can forget what may be read.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// How the names of such helpers begin, and the file that they are for. A name is another's where it begins with one that comes later.
const HELPERS: [(&str, Option<&str>); 5] = [
    // From outside: pages are brought in, so it is decided first which.
    ("bpf_copy_from_user", Some("reads.rs")),
    // In the target's own context: nothing is brought in.
    ("bpf_probe_read_user", Some("sampler.rs")),
    // Of the kernel's own memory.
    ("bpf_probe_read_kernel", Some("*")),
    // These read whatever they come to, or write.
    ("bpf_probe_read", None),
    ("bpf_probe_write_user", None),
];

/// Makes sure that the sources in `folder` use each helper where it belongs.
pub fn check(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = 0;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        ensure!(
            !path.is_dir(),
            "{} is a folder, which this check does not look into",
            path.display()
        );
        let source = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        found.extend(offences(&file, &source));
        files += 1;
    }
    ensure!(files > 0, "there is nothing in {}", folder.display());
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

/// Uses of helpers in `source` that do not belong into `file`, one a line.
fn offences(file: &str, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let words = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        for word in words {
            let helper = HELPERS.iter().find(|(start, _)| word.starts_with(start));
            match helper {
                Some((_, Some(place))) if [file, "*"].contains(place) => {}
                Some((_, Some(place))) => {
                    found.push(format!("{file}:{}: `{word}` is for {place} only", number + 1));
                }
                Some((_, None)) => found.push(format!("{file}:{}: `{word}` is for nobody", number + 1)),
                None => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{check, offences};
    use crate::repo;

    #[test]
    fn each_helper_has_its_file() {
        let source = "use x::{bpf_copy_from_user_task as read, bpf_probe_read_kernel};\n\
                      // bpf_probe_read_user\n\
                      let status = bpf_probe_read_user_str(a, b); // bpf_probe_read\n";
        assert_eq!(
            offences("reads.rs", source),
            ["reads.rs:3: `bpf_probe_read_user_str` is for sampler.rs only"]
        );
        assert_eq!(
            offences("sampler.rs", source),
            ["sampler.rs:1: `bpf_copy_from_user_task` is for reads.rs only"]
        );
        assert_eq!(offences("iterator.rs", source).len(), 2);
        for helper in ["bpf_probe_read", "bpf_probe_read_buf", "bpf_probe_write_user"] {
            assert_eq!(offences("reads.rs", helper).len(), 1, "{helper}");
        }
    }

    #[test]
    fn the_kernel_side_keeps_to_it() {
        check(&repo::root().unwrap().join("awaitwhat-ebpf/src")).unwrap();
    }
}
