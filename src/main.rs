//! The `ham-engine` program; everything is in the library.

fn main() -> std::process::ExitCode {
    ham_engine::cli::main()
}
