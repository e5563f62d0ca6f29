use std::fs;
use std::path::Path;

use super::*;

const PAGE: usize = 4096;
/// Where the parts of memory lie: one that was kept, one of a file that was not, and one that was written to and is missing.
const KEPT: u64 = 0x10_0000;
const OF_FILE: u64 = 0x20_0000;
const WRITTEN: u64 = 0x30_0000;
/// `PT_LOAD`, `PT_NOTE`, and flags.
const LOAD: u32 = 1;
const NOTE: u32 = 4;
const R: u32 = 4;
const W: u32 = 2;
const X: u32 = 1;

fn note(kind: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [5, content.len() as u32, kind] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(b"CORE\0\0\0\0");
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn files(path: &Path) -> Vec<u8> {
    let words = [1, PAGE as u64, OF_FILE, OF_FILE + 2 * PAGE as u64, 0];
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
    bytes.extend(path.as_os_str().as_encoded_bytes());
    bytes.push(0);
    bytes
}

/// A core file as the kernel writes one, of a process that had the file at `path` in memory.
fn core(path: &Path) -> Vec<u8> {
    let mut status = [0; 336];
    status[32..36].copy_from_slice(&4712_u32.to_le_bytes());
    let mut process = [0; 136];
    process[24..28].copy_from_slice(&4711_u32.to_le_bytes());
    process[40..47].copy_from_slice(b"python3");
    let notes = [
        note(1, &status),
        note(3, &process),
        note(0x5349_4749, &11_u32.to_le_bytes()),
        note(0x4649_4c45, &files(path)),
    ]
    .concat();
    let (first, page) = (PAGE as u64, PAGE as u64);
    let headers = [
        (NOTE, R, 64 + 4 * 56, 0, notes.len() as u64, 0),
        (LOAD, R | W, first, KEPT, page, page),
        (LOAD, R | X, first + page, OF_FILE, page, 2 * page),
        (LOAD, R | W, first + 2 * page, WRITTEN, 0, page),
    ];
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    for half in [4_u16, 62] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(1_u32.to_le_bytes());
    for word in [0_u64, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 4, 64, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    for (kind, flags, offset, address, kept, size) in headers {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        for word in [offset, address, 0, kept, size, 4] {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes.extend(notes);
    bytes.resize(PAGE, 0);
    bytes.extend([7; PAGE]);
    bytes.extend([1; PAGE]);
    bytes
}

/// A folder with a core file and the program that it is of.
struct Case {
    folder: tempfile::TempDir,
    core: Vec<u8>,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is room");
        let program = folder.path().join("python3");
        fs::write(&program, [[1; PAGE], [2; PAGE]].concat()).expect("there is room");
        let core = core(&program);
        Self { folder, core }
    }

    fn open(&self, core: &[u8], places: &Places) -> Result<CoreFile, CoreError> {
        let path = self.folder.path().join("core");
        fs::write(&path, core).expect("there is room");
        CoreFile::open(&path, places)
    }

    fn open_whole(&self) -> CoreFile {
        self.open(&self.core, &Places::default()).expect("it is one")
    }
}

/// The first byte of each page.
fn first_bytes(core: CoreFile) -> Vec<Option<u8>> {
    let pages = core.pages;
    let second = OF_FILE + PAGE as u64;
    [
        0,
        KEPT,
        KEPT + PAGE as u64,
        OF_FILE,
        second,
        WRITTEN,
        u64::MAX - 4095,
    ]
    .map(|address| pages.page(address).map(|page| page[0]))
    .to_vec()
}

#[test]
fn a_core_file_tells_who_it_was_and_what_it_had_in_memory() {
    let case = Case::new();
    let core = case.open_whole();
    assert_eq!(
        (core.pid, core.command.as_str(), core.signal),
        (4711, "python3", Some(11))
    );
    assert_eq!(core.threads, BTreeSet::from([4712]));
    assert_eq!(core.missing_bytes, 0);
    let names: Vec<(u64, &str, bool, bool)> = core
        .mappings
        .iter()
        .map(|it| (it.start.0, it.name.as_str(), it.executable, it.written))
        .collect();
    let expected = [
        (KEPT, "", false, true),
        (OF_FILE, "python3", true, false),
        (WRITTEN, "", false, false),
    ];
    assert_eq!(names, expected);
    // What was written to and not kept is not to be had, whatever a file says.
    assert_eq!(
        first_bytes(core),
        [None, Some(7), None, Some(1), Some(2), None, None]
    );
}

#[test]
fn code_that_a_debugger_leaves_out_is_looked_up_all_the_same() {
    let mut case = Case::new();
    // The third header is that of the file.
    case.core[64 + 2 * 56] = 0;
    let core = case.open_whole();
    assert!(
        core.mappings
            .iter()
            .any(|it| it.name == "python3" && it.executable)
    );
    assert_eq!(first_bytes(core)[3..5], [Some(1), Some(2)]);
}

#[test]
fn files_that_are_missing_are_told() {
    let case = Case::new();
    let program = case.folder.path().join("python3");
    fs::remove_file(&program).expect("it is there");
    let pages = case.open_whole().pages;
    assert!(pages.missing_files().is_empty(), "nothing was asked for");
    assert!(pages.page(OF_FILE + PAGE as u64).is_none());
    assert_eq!(pages.missing_files(), [program]);
}

#[test]
fn a_file_that_is_another_one_by_now_tells_nothing() {
    let case = Case::new();
    let other = case.folder.path().join("other");
    fs::write(&other, [[9; PAGE], [9; PAGE]].concat()).expect("there is room");
    let as_executable = |path: &Path| Places {
        executable: Some(path.to_owned()),
        root: None,
    };
    assert!(matches!(
        case.open(&case.core, &as_executable(&other)),
        Err(CoreError::OtherExecutable { .. })
    ));
    let missing = case.folder.path().join("missing");
    assert!(matches!(
        case.open(&case.core, &as_executable(&missing)),
        Err(CoreError::Executable { .. })
    ));
    let program = case.folder.path().join("python3");
    fs::rename(&program, case.folder.path().join("moved")).expect("it is there");
    assert_eq!(first_bytes(case.open_whole())[3..5], [Some(1), None]);
    let moved = as_executable(&case.folder.path().join("moved"));
    assert_eq!(
        first_bytes(case.open(&case.core, &moved).expect("it is one"))[4],
        Some(2)
    );
    fs::rename(&other, &program).expect("it is there");
    assert_eq!(first_bytes(case.open_whole())[3..5], [Some(1), None]);
    // What is a folder, or a pipe, is not waited for.
    fs::remove_file(&program).expect("it is there");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &program,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("it can be made");
    assert_eq!(first_bytes(case.open_whole())[4], None);
}

#[test]
fn files_are_looked_up_below_another_root() {
    let case = Case::new();
    let program = case.folder.path().join("python3");
    let root = case.folder.path().join("image");
    let below = root.join(program.strip_prefix("/").expect("it is absolute"));
    fs::create_dir_all(below.parent().expect("it has one")).expect("there is room");
    fs::rename(&program, &below).expect("it is there");
    let places = Places {
        executable: None,
        root: Some(root),
    };
    assert_eq!(
        first_bytes(case.open(&case.core, &places).expect("it is one"))[4],
        Some(2)
    );
}

#[test]
fn one_that_was_cut_says_how_much_is_missing() {
    let case = Case::new();
    let cut = &case.core[..case.core.len() - PAGE - 100];
    let core = case.open(cut, &Places::default()).expect("its headers are there");
    assert_eq!(core.missing_bytes, PAGE as u64 + 100);
    // The file would tell what was there at first, and not at the end.
    assert_eq!(first_bytes(core)[1..5], [None, None, None, Some(2)]);
}

#[test]
fn whatever_is_wrong_with_it_there_is_an_answer() {
    let case = Case::new();
    for length in (0..PAGE + 64).chain([case.core.len() - 1]) {
        if let Ok(core) = case.open(&case.core[..length], &Places::default()) {
            first_bytes(core);
        }
    }
    for place in (0..64 + 4 * 56 + 1200).step_by(3) {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = case.core.clone();
            bytes[place] ^= flip;
            if let Ok(core) = case.open(&bytes, &Places::default()) {
                first_bytes(core);
            }
        }
    }
}

#[test]
fn what_is_none_is_refused_by_what_it_is() {
    let case = Case::new();
    let error = |bytes: &[u8]| {
        let opened = case.open(bytes, &Places::default());
        opened.expect_err("it is none").to_string()
    };
    insta::assert_snapshot!(error(b"{}"), @"its headers make no sense: it is damaged, or was cut short");
    insta::assert_snapshot!(error(b"\x28\xb5\x2f\xfd...."), @"it is no ELF file, as core files are; it is compressed: unpack it by `zstd -d`, or `coredumpctl dump -o FILE`");
    let mut program = case.core.clone();
    program[16] = 3;
    insta::assert_snapshot!(error(&program), @"it is an ELF file, but no core file of a process on x86-64: a program is given by --exe");
    let mut no_notes = case.core.clone();
    no_notes[64] = 0;
    insta::assert_snapshot!(error(&no_notes), @"it has no notes of threads and files: it was cut short, or what wrote it leaves them out");
    assert!(matches!(
        CoreFile::open(case.folder.path(), &Places::default()),
        Err(CoreError::NotRegular)
    ));
}
