//! Where the target has the standard library: where its functions say that they are.

use super::Interpreter;
use crate::memory::{Address, Memory};

/// Functions of the standard library, and where in it they are. asyncio's come first; the others are for programs without it. `os` is
/// frozen from 3.11 on, and then does not tell.
const FUNCTIONS: [(&str, &str, &str); 4] = [
    ("asyncio.tasks", "sleep", "asyncio/tasks.py"),
    ("functools", "update_wrapper", "functools.py"),
    ("threading", "settrace", "threading.py"),
    ("os", "makedirs", "os.py"),
];

impl Interpreter {
    /// `sys.modules` of the main interpreter, which `_PyRuntime` lists last; NULL where it cannot be read.
    pub fn modules(&self, memory: &dyn Memory) -> Address {
        let states = self.states(memory).unwrap_or_default();
        let modules = states
            .last()
            .map(|state| memory.read_address(state.offset(self.offsets.interpreter.modules)));
        modules.and_then(Result::ok).unwrap_or_default()
    }

    /// The folder of the standard library as its code objects have it, with a slash at its end. Empty where their paths are relative,
    /// as in a bundle; `None` where nothing tells.
    pub fn standard_library(&self, memory: &dyn Memory) -> Option<String> {
        let objects = self.objects(memory);
        let modules = Some(self.modules(memory)).filter(|modules| !modules.is_null())?;
        FUNCTIONS.iter().find_map(|(module, function, path)| {
            let module = objects.dict_get(modules, module).ok()??;
            let function = objects.module_attribute(module, function).ok()??;
            let (file, _) = objects.file_of_function(function).ok()??;
            let folder = file.strip_suffix(path)?;
            (folder.is_empty() || folder.ends_with('/')).then(|| folder.to_owned())
        })
    }
}
