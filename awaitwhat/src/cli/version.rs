//! What `--version` says of the program: enough to build the same one again.

/// All of it, for `--version`; `-V` says the first line.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("AWAITWHAT_COMMIT"),
    "\neBPF object: sha256 ",
    env!("AWAITWHAT_EBPF"),
    "\ncompiler: ",
    env!("AWAITWHAT_RUSTC"),
);

#[cfg(test)]
mod tests {
    use super::LONG;

    #[test]
    fn every_part_is_told_in_a_line_of_its_own() {
        let lines: Vec<&str> = LONG.lines().collect();
        let [version, commit, object, compiler] = lines[..] else {
            panic!("{LONG}")
        };
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        assert!(commit.len() > "commit: ".len(), "{commit}");
        let hash = object.strip_prefix("eBPF object: sha256 ").unwrap();
        assert_eq!(
            (hash.len(), hash.bytes().all(|it| it.is_ascii_hexdigit())),
            (64, true)
        );
        assert!(compiler.starts_with("compiler: rustc 1."), "{compiler}");
    }
}
