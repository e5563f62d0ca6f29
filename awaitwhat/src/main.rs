use std::process::ExitCode;

fn main() -> ExitCode {
    awaitwhat::cli::main()
}
