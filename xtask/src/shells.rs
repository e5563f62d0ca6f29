//! What reads completions and manual pages in tests: shells, and what shows pages.

use crate::debian;
use crate::pythons::Provided;

/// Each program, and the Debian package that has it. bash is there on every Debian.
const PROGRAMS: [(&str, &str); 4] = [
    ("zsh", "zsh"),
    ("fish", "fish"),
    ("man", "man-db"),
    ("mandoc", "mandoc"),
];

/// Installs what is not on this machine.
pub fn add(provided: &mut Provided) {
    for (program, package) in PROGRAMS {
        if let Err(error) = debian::need(program, package) {
            provided.missing.push(format!("{package}: {error:#}"));
        }
    }
}
