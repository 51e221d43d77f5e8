//! `forebay-hil`: runs a rig, and writes what it has shown.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use forebay_hil::proved::{self, Results};
use forebay_hil::report::{self, Verdict};
use forebay_hil::{library, root, runner};

/// The same cases on our own simulators, on foreign ones and on real devices.
#[derive(Parser)]
#[command(
    name = "forebay-hil",
    after_help = "Example:\n  forebay-hil --rig hil/rigs/ci.toml --report report.md\n\n\
                  Ends with 0 when nothing is wrong, 1 when the product is, 2 when the rig is."
)]
struct Arguments {
    /// Rig file to run
    #[arg(long, value_name = "FILE")]
    rig: Option<PathBuf>,
    /// Where the report of the run goes; standard output unless written
    #[arg(long, value_name = "FILE", requires = "rig")]
    report: Option<PathBuf>,
    /// Keep the results of the run in hil/results, for the table
    #[arg(long, requires = "rig")]
    record: bool,
    /// Write the table "proved on" from hil/results
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Put every built-in profile to the test, and write their list
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.rig.is_none() && arguments.table.is_none() && arguments.library.is_none() {
        eprintln!("forebay-hil: nothing to do; see forebay-hil --help");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("forebay-hil: {error}");
            return ExitCode::from(2);
        }
    };
    match runtime.block_on(run(&arguments)) {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Product) => ExitCode::from(1),
        Ok(Verdict::Rig) => ExitCode::from(2),
        Err(message) => {
            eprintln!("forebay-hil: {message}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<Verdict, String> {
    let mut verdict = Verdict::Good;
    if let Some(file) = &arguments.rig {
        let (rig, reports) = runner::run(file).await.map_err(|fault| format!("rig: {fault}"))?;
        verdict = report::verdict(&reports);
        let when = forebay::clock::rfc3339(forebay::clock::now_us());
        let text = report::document(&rig, &when, &reports);
        match &arguments.report {
            Some(file) => write(file, &text)?,
            None => println!("{text}"),
        }
        eprintln!("rig {}: {}", rig.name, report::summary(&reports));
        if arguments.record && verdict == Verdict::Rig {
            return Err("a broken rig shows nothing: its results are not kept".into());
        }
        if arguments.record {
            let text = Results::of(&rig.name, &reports).text().map_err(|fault| fault.to_string())?;
            write(&root().join(format!("hil/results/{}.toml", rig.name)), &text)?;
        }
    }
    if let Some(file) = &arguments.table {
        let results = proved::read_all(&root().join("hil/results")).map_err(|fault| fault.to_string())?;
        write(file, &proved::document(&results))?;
    }
    if let Some(file) = &arguments.library {
        let proofs = library::prove_all().await.map_err(|trouble| trouble.to_string())?;
        write(file, &library::document(&proofs))?;
    }
    Ok(verdict)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
