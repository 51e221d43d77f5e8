//! Profiles that come with the program.

/// File name and text of every built-in profile. Their `[[device]]` entries are examples and are
/// never opened.
pub const BUILTIN: &[(&str, &str)] = &[
    ("acme-press-630t.toml", include_str!("../../profiles/acme-press-630t.toml")),
    ("bottle-filler.toml", include_str!("../../profiles/bottle-filler.toml")),
    ("eastron-sdm630.toml", include_str!("../../profiles/eastron-sdm630.toml")),
];
