//! Rig files and their checks.
