//! On what a recording is to be kept: conditions that are given as text, of which there are three.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Times that can be asked about, in seconds: a shorter one is no time that looks can tell, and a longer one is never seen.
const TIMES: std::ops::RangeInclusive<f64> = 0.1..=86_400.0;
/// Units of time, and their seconds. One that ends in another comes before it.
const UNITS: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// Something that may hold of what a trace sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: ConditionKind,
    /// As it was given.
    text: String,
}

/// Which of the three it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionKind {
    /// Some task has been in one wait for longer, in a chain that has the text in it.
    Waiting { place: String, longer_than: Duration },
    /// Some event loop has been in one turn for longer.
    Blocked { longer_than: Duration },
    /// Some process has more tasks.
    Tasks { more_than: usize },
}

/// It is none of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCondition {
    #[error(
        "{0:?} is no condition: say waiting(\"TEXT\") > TIME, blocked > TIME, or tasks > NUMBER, such as --when 'waiting(\"Pool.acquire\") > 10s', --when 'blocked > 500ms' or --when 'tasks > 5000'"
    )]
    Unknown(String),
    #[error("{0:?} is no time: say a number and a unit (ms, s, m or h), such as 500ms, 10s or 2m")]
    Time(String),
    #[error("{0:?} is out of range: choose {lowest} s to {highest} h", lowest = TIMES.start(), highest = TIMES.end() / 3600.0)]
    Range(String),
    #[error("{0:?} is no number of tasks: say a whole number, such as 5000")]
    Number(String),
    #[error(
        "{0:?} does not say where tasks wait: put a part of a function's name, a file or a thing between quotes, as in waiting(\"Pool.acquire\") > 10s"
    )]
    Place(String),
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Condition {
    type Err = NoCondition;

    fn from_str(text: &str) -> Result<Self, NoCondition> {
        let unknown = || NoCondition::Unknown(text.to_owned());
        // What is between the quotes may have the sign in it.
        let (what, limit) = text.rsplit_once('>').ok_or_else(unknown)?;
        let (what, limit) = (what.trim(), limit.trim());
        let kind = match what {
            "blocked" => ConditionKind::Blocked {
                longer_than: time(limit)?,
            },
            "tasks" => ConditionKind::Tasks {
                more_than: limit.parse().map_err(|_| NoCondition::Number(limit.to_owned()))?,
            },
            _ => {
                let inside = what.strip_prefix("waiting").ok_or_else(unknown)?.trim();
                let inside = inside.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
                let place = inside.and_then(|it| quoted(it.trim()));
                ConditionKind::Waiting {
                    place: place
                        .ok_or_else(|| NoCondition::Place(what.to_owned()))?
                        .to_owned(),
                    longer_than: time(limit)?,
                }
            }
        };
        Ok(Self {
            kind,
            text: text.trim().to_owned(),
        })
    }
}

/// What stands between quotes, if it is something.
fn quoted(text: &str) -> Option<&str> {
    let between = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    between('"').or_else(|| between('\'')).filter(|it| !it.is_empty())
}

fn time(text: &str) -> Result<Duration, NoCondition> {
    let no_time = || NoCondition::Time(text.to_owned());
    let in_unit = |(unit, seconds): &(&str, f64)| Some((text.strip_suffix(unit)?, *seconds));
    let (number, unit) = UNITS.iter().find_map(in_unit).ok_or_else(no_time)?;
    let number: f64 = number.trim().parse().map_err(|_| no_time())?;
    let seconds = number * unit;
    if TIMES.contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(NoCondition::Range(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Result<ConditionKind, NoCondition> {
        text.parse().map(|it: Condition| it.kind)
    }

    #[test]
    fn three_conditions_are_understood() {
        let waiting = |place: &str, milliseconds| ConditionKind::Waiting {
            place: place.to_owned(),
            longer_than: Duration::from_millis(milliseconds),
        };
        let blocked = |milliseconds| ConditionKind::Blocked {
            longer_than: Duration::from_millis(milliseconds),
        };
        for (text, expected) in [
            ("waiting(\"Pool.acquire\") > 10s", waiting("Pool.acquire", 10_000)),
            ("  waiting ( 'a > b' )>1.5m ", waiting("a > b", 90_000)),
            ("waiting(\"'\") > 0.1 s", waiting("'", 100)),
            ("blocked > 500ms", blocked(500)),
            ("blocked>24h", blocked(86_400_000)),
            ("tasks > 5000", ConditionKind::Tasks { more_than: 5000 }),
        ] {
            assert_eq!(kind(text), Ok(expected), "{text}");
        }
        let condition: Condition = " tasks >5000 ".parse().unwrap();
        assert_eq!(condition.to_string(), "tasks >5000");
    }

    #[test]
    fn what_is_none_is_told_with_all_that_there_are() {
        for text in [
            "",
            "tasks",
            "cpu > 5s",
            "tasks < 5",
            "waits(\"x\") > 1s",
            "not blocked > 1s",
        ] {
            assert_eq!(kind(text), Err(NoCondition::Unknown(text.to_owned())));
        }
        let told = NoCondition::Unknown("cpu > 5s".to_owned()).to_string();
        for example in [
            "'waiting(\"Pool.acquire\") > 10s'",
            "'blocked > 500ms'",
            "'tasks > 5000'",
        ] {
            assert!(told.contains(example), "{told}");
            kind(example.trim_matches('\'')).unwrap();
        }
        for text in [
            "waiting > 1s",
            "waiting(x) > 1s",
            "waiting(\"\") > 1s",
            "waiting(\"x') > 1s",
        ] {
            assert!(matches!(kind(text), Err(NoCondition::Place(_))), "{text}");
        }
        for text in ["5", "s", "xs", "", "5d", "nans"] {
            assert!(
                matches!(
                    kind(&format!("blocked > {text}")),
                    Err(NoCondition::Time(_) | NoCondition::Range(_))
                ),
                "{text}"
            );
        }
        for text in ["99ms", "25h", "-1s", "infs"] {
            assert_eq!(
                kind(&format!("blocked > {text}")),
                Err(NoCondition::Range(text.to_owned()))
            );
        }
        for text in ["many", "-1", "1.5", ""] {
            assert!(
                matches!(kind(&format!("tasks > {text}")), Err(NoCondition::Number(_))),
                "{text}"
            );
        }
    }
}
