//! Rules: which function waits for what, and where the facts of it are. They are data, a file per library.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use super::path::Path;
use crate::resource::ResourceKind;

/// The rules that come with awaitwhat. Of two that fit, the one of the outer function counts, and of one function the first.
const FILES: [(&str, &str); 5] = [
    ("asyncio", include_str!("rules/asyncio.toml")),
    ("streams", include_str!("rules/streams.toml")),
    ("processes", include_str!("rules/processes.toml")),
    ("anyio", include_str!("rules/anyio.toml")),
    ("trio", include_str!("rules/trio.toml")),
];

/// One rule; `docs/naming-a-wait.md` explains each key.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// How the path of the function's file ends.
    pub file: String,
    /// Its qualified name.
    pub function: String,
    /// The function that it is waiting in itself: the rule holds only while that is the innermost one of the chain that a rule knows.
    pub over: Option<String>,
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
    /// The futures of which it waits for one, some or all; whether those that have ended leave it; how many of these have failed.
    pub children: Option<Path>,
    #[serde(default)]
    pub children_leave: bool,
    pub failed: Option<Places>,
    pub size: Option<Places>,
    pub limit: Option<Places>,
    pub free: Option<Places>,
    /// When the wait ends by itself, by the clock of the loop, in seconds.
    pub deadline: Option<Places>,
    /// How long the wait lasts in all, in seconds: it began so long before the deadline.
    pub lasts: Option<Places>,
    pub fd: Option<Places>,
    /// Address of the near and of the far end, or the host and the port of that.
    pub local: Option<Places>,
    pub peer: Option<Places>,
    pub host: Option<Places>,
    pub port: Option<Places>,
    pub pid: Option<Places>,
    pub command: Option<Places>,
    #[serde(default)]
    pub detail: BTreeMap<String, Path>,
}

/// What a task has while it is inside of the block of something else.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolderRule {
    /// The name of the class whose block it is, or of one that this is derived from.
    pub class: String,
    /// From an object of the class, which is called `self` here, to what the task has.
    pub object: Path,
    /// The method that gives it up for as long as it waits.
    pub unless: Option<String>,
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
        self.function
            .rsplit_once('.')
            .map_or(&self.function, |(_, name)| name)
    }

    /// The class that its function is a method of.
    pub fn class(&self) -> Option<&str> {
        let (class, _) = self.function.rsplit_once('.')?;
        let class = class.rsplit_once('.').map_or(class, |(_, name)| name);
        // A function within another one is no method.
        Some(class).filter(|class| *class != "<locals>")
    }
}

/// The content of a file of rules.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    wait: Vec<Rule>,
    #[serde(default)]
    holder: Vec<HolderRule>,
    #[serde(default)]
    deadline: Vec<DeadlineRule>,
    #[serde(default)]
    group: Vec<GroupRule>,
    #[serde(default)]
    future: Vec<FutureRule>,
}

/// All rules: those about waits by the plain name of their function.
#[derive(Debug, Default)]
pub struct Rules {
    waits: HashMap<String, Vec<Rule>>,
    holders: Vec<HolderRule>,
    deadlines: Vec<DeadlineRule>,
    groups: Vec<GroupRule>,
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
            let of_name = self.waits.entry(rule.plain_name().to_owned());
            of_name.or_default().push(rule);
        }
        self.holders.extend(file.holder);
        self.deadlines.extend(file.deadline);
        self.groups.extend(file.group);
        self.futures.extend(file.future);
        Ok(())
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
        let plain = name.rsplit_once('.').map_or(name, |(_, plain)| plain);
        let candidates = self.waits.get(plain).into_iter().flatten();
        candidates
            .filter(move |rule| (name == plain || name == rule.function) && is_path_end(file, &rule.file))
    }
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
