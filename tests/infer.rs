//! Models: the gate in front of them, what they say of the simulated press, and what they must
//! never do.

mod bench;
mod broken;
mod evaluation;
mod examples;
mod folder;
mod gate;
mod inputs;
mod prepare;
mod service;
mod wear;
