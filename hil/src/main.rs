//! t
fn main() {
    let rt = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (_, reports) = rt
        .block_on(forebay_hil::runner::run(std::path::Path::new(&std::env::args().nth(1).unwrap())))
        .unwrap();
    for r in reports {
        println!("{} {:?} {:?} said {:?}", r.role, r.kind, r.fault.as_ref().map(|f| f.to_string()), r.said);
        for run in r.runs {
            println!("   {:12} {:?} {} ms: {}", run.case, run.outcome, run.took.as_millis(), run.words);
        }
    }
}
