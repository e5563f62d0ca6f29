//! Rules: which function waits for what, and where the facts of it are. They are data, a file per library.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use super::path::{Path, Sum};
use crate::resource::ResourceKind;

/// The rules that come with awaitwhat. Of two that fit, the one of the outer function counts, and of one function the first.
const FILES: [(&str, &str); 14] = [
    ("asyncio", include_str!("rules/asyncio.toml")),
    ("streams", include_str!("rules/streams.toml")),
    ("processes", include_str!("rules/processes.toml")),
    ("anyio", include_str!("rules/anyio.toml")),
    ("trio", include_str!("rules/trio.toml")),
    ("transports", include_str!("rules/transports.toml")),
    ("uvloop", include_str!("rules/uvloop.toml")),
    ("aiohttp", include_str!("rules/aiohttp.toml")),
    ("httpcore", include_str!("rules/httpcore.toml")),
    ("websockets", include_str!("rules/websockets.toml")),
    ("asyncpg", include_str!("rules/asyncpg.toml")),
    ("psycopg", include_str!("rules/psycopg.toml")),
    ("redis", include_str!("rules/redis.toml")),
    ("sqlalchemy", include_str!("rules/sqlalchemy.toml")),
];

/// One rule; `docs/naming-a-wait.md` explains each key.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// How the path of the function's file ends.
    pub file: String,
    /// Its qualified name.
    pub function: String,
    /// The functions of which it waits in one itself: the rule holds only while that is the innermost one of the chain that a rule knows.
    pub over: Option<Functions>,
    /// The function that it waits in directly, where it may wait in several.
    pub calls: Option<String>,
    /// What has to be there, or else the rule does not hold.
    pub when: Option<Path>,
    pub kind: ResourceKind,
    /// What the user reads, instead of what the kind is called: `an item of queue`.
    pub words: Option<String>,
    pub operation: Option<String>,
    pub object: Option<Path>,
    /// What has to be the future that ends the chain, so that all this is of the same wait.
    pub awaited: Option<Path>,
    /// The futures of those that wait, in their order; or in none (`waiters`).
    pub line: Option<Path>,
    pub waiters: Option<Path>,
    pub held: Option<Path>,
    /// Whether those who are inside of its `async with` block have it.
    #[serde(default)]
    pub holders: bool,
    /// The one task that has it.
    pub owner: Option<Path>,
    /// A container of things of which each user has one: whoever has one of them has a part of it.
    pub parts: Option<Path>,
    /// The futures of which it waits for one, some or all; whether those that have ended leave it; how many of these have failed.
    pub children: Option<Path>,
    #[serde(default)]
    pub children_leave: bool,
    pub failed: Option<Places>,
    pub size: Option<Sums>,
    pub limit: Option<Sums>,
    pub free: Option<Sums>,
    /// When the wait ends by itself, by the clock of the loop, in seconds.
    pub deadline: Option<Places>,
    /// How long the wait lasts in all, in seconds: it began so long before the deadline.
    pub lasts: Option<Places>,
    pub fd: Option<Places>,
    /// What the connection's transport is, which says the descriptor and both addresses.
    pub transport: Option<Places>,
    /// What is asked for, of whom.
    pub method: Option<Places>,
    pub url: Option<Places>,
    /// Address of the near and of the far end, or the host and the port of that.
    pub local: Option<Places>,
    pub peer: Option<Places>,
    pub host: Option<Places>,
    pub port: Option<Places>,
    pub pid: Option<Places>,
    pub command: Option<Places>,
    /// What a server was asked, and the arguments that it was given besides.
    pub query: Option<Places>,
    pub arguments: Option<Places>,
    #[serde(default)]
    pub detail: BTreeMap<String, Path>,
}

/// What a task has while it is inside of the block of something else.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolderRule {
    /// The name of the class whose block it is, or of one that this is derived from.
    pub class: Option<String>,
    /// Or else how the path of a function's file ends, and the qualified name of the function: whoever is in it, or in the block of a context
    /// manager that it makes, has something.
    pub file: Option<String>,
    pub function: Option<String>,
    /// From an object of the class, which is called `self` here, or from a variable of the function, to what the task has, or to one of the
    /// `parts` of what others wait for.
    pub object: Places,
    /// What has to be there, or else it has nothing.
    pub when: Option<Path>,
    /// The part of it that the task has: of one part a task has no more than one.
    pub part: Option<Path>,
    /// Whether a variable is enough, and no block is needed. Other tasks may have the same part then.
    #[serde(default)]
    pub variable: bool,
    /// The method that gives it up for as long as it waits.
    pub unless: Option<String>,
}

impl HolderRule {
    /// Whether it is about a class of one of these names.
    pub fn is_of_class(&self, names: &[std::sync::Arc<str>]) -> bool {
        let class = self.class.as_deref();
        class.is_some_and(|class| names.iter().any(|name| **name == *class))
    }

    /// Whether it is about a function. Before 3.11 a code object knows its function's plain name only.
    pub fn is_of_function(&self, name: &str, file: &str) -> bool {
        let (Some(function), Some(end)) = (&self.function, &self.file) else {
            return false;
        };
        (name == function || name == plain_name(function)) && is_path_end(file, end)
    }
}

/// What ends by itself whatever goes on in the block of an object.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadlineRule {
    /// The name of the class whose block it is, or of one that this is derived from.
    pub class: String,
    /// From an object of the class, which is called `self` here, to the moment by the clock of the loop, in seconds.
    pub when: Places,
}

/// Objects in whose block tasks are started that belong to it, and whose callbacks lead to it.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRule {
    /// The name of the class, or of one that it is derived from.
    pub class: String,
}

/// What a transport says of its connection. Its paths begin at an object of the class, which is called `self` here.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransportRule {
    /// The name of the class, or of one that it is derived from.
    pub class: String,
    pub fd: Option<Places>,
    pub handle: Option<HandleRule>,
    pub local: Option<Places>,
    pub peer: Option<Places>,
    /// The transport below it, which has the rest.
    pub below: Option<Path>,
}

/// Where an object has a pointer to a C struct that has its descriptor, and what shows that it is that struct. All are offsets in bytes.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandleRule {
    /// In the object.
    pub pointer: u16,
    /// In the struct: a pointer back to the object, a number that is one of `kinds`, and the descriptor.
    pub owner: u16,
    pub kind: u16,
    pub kinds: Vec<u32>,
    pub fd: u16,
}

/// A field of a class of an extension module that Python does not see: paths find it by its name.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldRule {
    /// The full name of the class, or of one that it is derived from.
    pub class: String,
    pub name: String,
    /// In bytes.
    pub offset: u16,
    /// The full name of the type that the object in it has to have.
    pub value: String,
}

/// The parts of a URL. Its paths begin at an object of the class, which is called `self` here.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UrlRule {
    /// The name of the class, or of one that it is derived from.
    pub class: String,
    pub scheme: Places,
    /// The host, with whatever stands before and behind it in a URL.
    pub netloc: Places,
    pub port: Option<Places>,
    pub path: Places,
}

/// One function, or several.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(untagged)]
pub enum Functions {
    One(String),
    Several(Vec<String>),
}

impl Functions {
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Several(several) => several.iter().any(|one| one == name),
        }
    }
}

/// What a future stands for that ends a chain, where no rule is about the function that awaits it: one of a class, or one with a callback.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FutureRule {
    /// The name of the future's class, or of one that it is derived from.
    pub class: Option<String>,
    /// A callback of the future that leads to what it stands for.
    pub callback: Option<Callback>,
    pub kind: ResourceKind,
    pub words: Option<String>,
    pub operation: Option<String>,
    /// From what it stands for, which is called `self` here, to the futures that it waits for.
    pub children: Option<Path>,
}

/// A function that refers to what a future stands for.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Callback {
    /// Its qualified name, and how the path of its file ends.
    pub function: String,
    pub file: String,
    /// The variable from around it.
    pub variable: String,
}

/// Where a fact is in one release or the other: the first place that there is counts.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(untagged)]
pub enum Places {
    One(Path),
    Several(Vec<Path>),
}

/// A number in one release or the other: the first that there is counts.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(untagged)]
pub enum Sums {
    One(Sum),
    Several(Vec<Sum>),
}

impl Sums {
    /// All of them.
    pub fn all(&self) -> &[Sum] {
        match self {
            Self::One(sum) => std::slice::from_ref(sum),
            Self::Several(sums) => sums,
        }
    }
}

impl Places {
    /// All of them.
    pub fn all(&self) -> &[Path] {
        match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::Several(paths) => paths,
        }
    }
}

impl Rule {
    /// The plain name of its function: what a code object has before 3.11.
    pub fn plain_name(&self) -> &str {
        plain_name(&self.function)
    }
}

/// What a code object has of a qualified name before 3.11.
pub fn plain_name(function: &str) -> &str {
    function.rsplit_once('.').map_or(function, |(_, name)| name)
}

/// The class that a function is a method of, or is made by a method of, as its qualified name says.
pub fn class_of(function: &str) -> Option<&str> {
    let outer = function.split(".<locals>").next()?;
    let (class, _) = outer.rsplit_once('.')?;
    Some(plain_name(class))
}

/// The content of a file of rules.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    #[serde(default)]
    wait: Vec<Rule>,
    #[serde(default)]
    holder: Vec<HolderRule>,
    #[serde(default)]
    deadline: Vec<DeadlineRule>,
    #[serde(default)]
    group: Vec<GroupRule>,
    #[serde(default)]
    transport: Vec<TransportRule>,
    #[serde(default)]
    url: Vec<UrlRule>,
    #[serde(default)]
    field: Vec<FieldRule>,
    #[serde(default)]
    future: Vec<FutureRule>,
}

/// All rules: those about waits by the plain name of their function.
#[derive(Debug, Default)]
pub struct Rules {
    waits: HashMap<String, Vec<Rule>>,
    /// The folders that files of the rules are in.
    packages: BTreeSet<String>,
    holders: Vec<HolderRule>,
    deadlines: Vec<DeadlineRule>,
    groups: Vec<GroupRule>,
    transports: Vec<TransportRule>,
    urls: Vec<UrlRule>,
    fields: Vec<FieldRule>,
    futures: Vec<FutureRule>,
}

impl Rules {
    /// The rules that come with awaitwhat.
    pub fn built_in() -> &'static Self {
        static RULES: LazyLock<Rules> = LazyLock::new(|| {
            let mut rules = Rules::default();
            for (name, text) in FILES {
                if let Err(error) = rules.add(text) {
                    panic!("the rules of {name} cannot be read: {error}");
                }
            }
            rules
        });
        &RULES
    }

    /// Adds those of a file.
    ///
    /// # Errors
    /// When its text is none.
    fn add(&mut self, text: &str) -> Result<(), toml::de::Error> {
        let file: RuleFile = toml::from_str(text)?;
        for rule in file.wait {
            let package = rule.file.split_once('/').map(|(package, _)| package.to_owned());
            self.packages.extend(package);
            let of_name = self.waits.entry(rule.plain_name().to_owned());
            of_name.or_default().push(rule);
        }
        self.holders.extend(file.holder);
        self.deadlines.extend(file.deadline);
        self.groups.extend(file.group);
        self.transports.extend(file.transport);
        self.urls.extend(file.url);
        self.fields.extend(file.field);
        self.futures.extend(file.future);
        Ok(())
    }

    /// Whether a file is in a folder of a package that there are rules for.
    pub fn is_of_known_package(&self, file: &str) -> bool {
        let (folders, _) = file.rsplit_once('/').unwrap_or_default();
        folders.split('/').any(|folder| self.packages.contains(folder))
    }

    /// The rules for blocks that stand for something else.
    pub fn of_holders(&self) -> &[HolderRule] {
        &self.holders
    }

    /// The rules for blocks that end by themselves.
    pub fn of_deadlines(&self) -> &[DeadlineRule] {
        &self.deadlines
    }

    /// The rules for task groups.
    pub fn of_groups(&self) -> &[GroupRule] {
        &self.groups
    }

    /// The rules for transports.
    pub fn of_transports(&self) -> &[TransportRule] {
        &self.transports
    }

    /// The rules for URLs.
    pub fn of_urls(&self) -> &[UrlRule] {
        &self.urls
    }

    /// The rules for fields of extension modules.
    pub fn of_fields(&self) -> &[FieldRule] {
        &self.fields
    }

    /// The rules for futures.
    pub fn of_futures(&self) -> &[FutureRule] {
        &self.futures
    }

    /// The rules for functions of this name and file. Before 3.11 a code object knows its function's plain name only, and the class has to be asked
    /// for.
    pub fn of_function<'r, 'n>(
        &'r self,
        name: &'n str,
        file: &'n str,
    ) -> impl Iterator<Item = &'r Rule> + use<'r, 'n> {
        let plain = plain_name(name);
        let candidates = self.waits.get(plain).into_iter().flatten();
        candidates.filter(move |rule| (name == plain || name == rule.function) && is_of_file(file, rule))
    }
}

/// Whether a function of this file may be the one of a rule. What older Cythons have compiled has no file: its qualified name has to do, and that
/// the rule of an outer function also fits.
fn is_of_file(file: &str, rule: &Rule) -> bool {
    is_path_end(file, &rule.file) || file.is_empty() && rule.file.ends_with(".pyx")
}

/// Whether a path ends with these folders and this file.
fn is_path_end(path: &str, end: &str) -> bool {
    path.strip_suffix(end)
        .is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_that_come_with_it_can_be_read() {
        assert!(!Rules::built_in().waits.is_empty());
    }

    #[test]
    fn a_rule_is_found_by_file_and_function() {
        let rules = Rules::built_in();
        let found = |name, file| rules.of_function(name, file).next().map(|rule| rule.kind);
        let locks = "/usr/lib/python3.12/asyncio/locks.py";
        assert_eq!(found("Lock.acquire", locks), Some(ResourceKind::Lock));
        assert_eq!(found("acquire", locks), Some(ResourceKind::Lock));
        assert_eq!(found("Other.acquire", locks), None);
        assert_eq!(found("Lock.acquire", "/srv/notasyncio/locks.py"), None);
        assert_eq!(found("Lock.acquire", "/srv/myasyncio/locks.py"), None);
    }

    #[test]
    fn libraries_are_known_wherever_they_are() {
        let is_known = |file| Rules::built_in().is_of_known_package(file);
        assert!(is_known("/opt/vendored/aiohttp/streams.py"));
        assert!(is_known("/usr/lib/python3.12/asyncio/locks.py"));
        assert!(!is_known("/srv/myaiohttp/aiohttp.py"));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        let refused = |text: &str| {
            let error = Rules::default().add(text).expect_err(text).to_string();
            let line = error.lines().last().unwrap_or_default();
            // What there is instead is a long list, which grows.
            line.split(", expected one of")
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let rule =
            |line: &str| format!("[[wait]]\nfile = \"a.py\"\nfunction = \"f\"\nkind = \"lock\"\n{line}");
        insta::assert_snapshot!(refused(&rule("held = \"self.\"")), @r#""self." is no path: an attribute, `[0]` or `['key']` was expected behind "self""#);
        insta::assert_snapshot!(refused(&rule("keeper = \"self\"")), @"unknown field `keeper`");
        insta::assert_snapshot!(refused("[[wait]]\nfile = \"a.py\"\nfunction = \"f\"\nkind = \"padlock\"\n"), @"unknown variant `padlock`");
    }
}
