//! Are the models and devices that `[[model]]` names there, and can the models be used?

use std::path::PathBuf;

use super::read::ModelNames;
use crate::document::{Context, nearest};
use crate::infer::folder::Folder;

/// Reports what is not there. None of it keeps the box from starting.
pub fn check(ctx: &Context<'_>, named: &ModelNames, devices: &[&str], directories: &[PathBuf]) {
    for (name, span) in &named.devices {
        if !devices.contains(&name.as_str()) {
            let fault = ctx.error("C0205", *span, format!("[[model]]: there is no device \"{name}\""));
            ctx.report(fault.help(suggest(name, devices, "write the name of a [[device]]")));
        }
    }
    if named.models.is_empty() {
        return;
    }
    let folders = Folder::all(directories);
    let models: Vec<&str> = folders.iter().map(Folder::model_name).collect();
    for (name, span) in &named.models {
        let Some(folder) = folders.iter().find(|folder| folder.model_name() == name) else {
            let fault = ctx.error("C0205", *span, format!("[[model]]: there is no model \"{name}\""));
            let help = format!("put its folder under [paths] models; known models: {}", models.join(", "));
            ctx.report(fault.help(suggest(name, &models, &help)));
            continue;
        };
        for wrong in folder.content.as_ref().err().into_iter().flatten() {
            let fault = ctx.error("C0209", *span, format!("model `{name}`: {wrong}"));
            ctx.report(fault.label("cannot be used").help("see docs/models.md"));
        }
    }
}

fn suggest(name: &str, known: &[&str], otherwise: &str) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => otherwise.to_owned(),
    }
}
