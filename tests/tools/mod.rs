//! The tools beside the box: control socket, `forebay journal`, backlogs of other boxes.

mod backlog;
mod control;
pub mod daemon;
mod explain;
mod export;
mod held;
mod journal;
mod known;
mod missing;
mod person;
mod replay;
