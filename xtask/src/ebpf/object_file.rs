//! What is done to the linked object, and how two of them are compared.

use anyhow::{Context, Result};
use object::build::elf::{Builder, SectionData};
use object::{File, Object, ObjectSection};
use sha2::{Digest, Sha256};

/// The object without DWARF. BTF stays: the loader and the kernel use it.
pub fn without_debug_information(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut object = Builder::read(bytes).context("the linker's output is not an ELF file")?;
    for section in object.sections.iter_mut() {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    object.delete_orphans();
    // LLVM keeps the names of symbols and of sections in one table, which the writer does not know.
    let names = object.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    object
        .write(&mut stripped)
        .context("cannot write the object without its debug information")?;
    Ok(stripped)
}

/// The SHA-256 of `bytes` in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Names the first section that differs between two objects.
pub fn first_difference(committed: &[u8], built: &[u8]) -> String {
    let (committed, built) = match (File::parse(committed), File::parse(built)) {
        (Ok(committed), Ok(built)) => (sections(&committed), sections(&built)),
        (Err(error), _) => return format!("the committed object is not readable ({error})"),
        (_, Err(error)) => return format!("the built object is not readable ({error})"),
    };
    for ((old_name, old), (new_name, new)) in committed.iter().zip(&built) {
        if old_name != new_name {
            return format!("section {old_name} is committed where the source gives {new_name}");
        }
        if old != new {
            let at = old.iter().zip(*new).take_while(|(old, new)| old == new).count();
            return format!(
                "section {old_name} at byte {at} (committed {} bytes, built {})",
                old.len(),
                new.len()
            );
        }
    }
    match committed.len().cmp(&built.len()) {
        std::cmp::Ordering::Equal => "headers, symbols or relocations; all sections are equal".into(),
        _ => format!(
            "{} sections are committed, the source gives {}",
            committed.len(),
            built.len()
        ),
    }
}

fn sections<'data>(object: &File<'data>) -> Vec<(String, &'data [u8])> {
    object
        .sections()
        .map(|section| {
            let name = String::from_utf8_lossy(section.name_bytes().unwrap_or_default()).into_owned();
            (name, section.data().unwrap_or_default())
        })
        .collect()
}
