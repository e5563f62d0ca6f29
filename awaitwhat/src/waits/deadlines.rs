//! Until when a task waits at most, as a block says that one of its frames is inside of: a timeout, or a cancel scope.

use super::reader::Reader;
use super::rules::DeadlineRule;
use crate::memory::Address;
use crate::python::ReadError;
use crate::python::frame::FrameAddress;

impl Reader<'_> {
    /// The first moment at which a block ends what goes on in it, by the clock of the loop, in seconds; `None` where there is none. `chain` has the
    /// outermost frame first.
    ///
    /// # Errors
    /// When a frame or a block cannot be read.
    pub(super) fn deadline_of(&mut self, chain: &[FrameAddress]) -> Result<Option<f64>, ReadError> {
        let mut first: Option<f64> = None;
        for block in self.blocks_of(chain)?.iter() {
            let Some(rule) = self.deadline_rule(block.object)? else {
                continue;
            };
            for path in rule.when.all() {
                if let Some(object) = self.follow_from(block.object, path)?
                    && let Some(when) = self.seconds(object)?
                {
                    first = Some(first.map_or(when, |first| first.min(when)));
                    break;
                }
            }
        }
        Ok(first)
    }

    fn deadline_rule(&mut self, block: Address) -> Result<Option<&'static DeadlineRule>, ReadError> {
        let kind = self.kind_of(block)?;
        let mut rules = self.rules().of_deadlines().iter();
        Ok(rules.find(|rule| kind.names.iter().any(|name| **name == rule.class)))
    }
}
