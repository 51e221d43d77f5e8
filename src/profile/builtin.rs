//! Profiles that come with the program.

/// File name and text of every built-in profile: first those that show the language, with example
/// devices that are never opened, then the library of `docs/profile-library.md`.
pub const BUILTIN: &[(&str, &str)] = &[
    ("acme-press-630t.toml", include_str!("../../profiles/acme-press-630t.toml")),
    ("bottle-filler.toml", include_str!("../../profiles/bottle-filler.toml")),
    ("eastron-sdm630.toml", include_str!("../../profiles/eastron-sdm630.toml")),
    ("abb-acs550.toml", include_str!("../../profiles/abb-acs550.toml")),
    ("abb-b23.toml", include_str!("../../profiles/abb-b23.toml")),
    ("carlo-gavazzi-em340.toml", include_str!("../../profiles/carlo-gavazzi-em340.toml")),
    ("carrier-aquasmart-30ev.toml", include_str!("../../profiles/carrier-aquasmart-30ev.toml")),
    ("eastron-sdm120.toml", include_str!("../../profiles/eastron-sdm120.toml")),
    ("eastron-sdm230.toml", include_str!("../../profiles/eastron-sdm230.toml")),
    ("eastron-sdm72dm-v2.toml", include_str!("../../profiles/eastron-sdm72dm-v2.toml")),
    ("fronius-sunspec-float.toml", include_str!("../../profiles/fronius-sunspec-float.toml")),
    ("janitza-umg96rm.toml", include_str!("../../profiles/janitza-umg96rm.toml")),
    ("kaeser-sigma-control.toml", include_str!("../../profiles/kaeser-sigma-control.toml")),
    ("lovato-dmg610.toml", include_str!("../../profiles/lovato-dmg610.toml")),
    ("moxa-iologik-e1210.toml", include_str!("../../profiles/moxa-iologik-e1210.toml")),
    ("opcua-machinery.toml", include_str!("../../profiles/opcua-machinery.toml")),
    ("opcua-server.toml", include_str!("../../profiles/opcua-server.toml")),
    ("packml-s7-1500.toml", include_str!("../../profiles/packml-s7-1500.toml")),
    ("phoenix-eem.toml", include_str!("../../profiles/phoenix-eem.toml")),
    ("schneider-iem3155.toml", include_str!("../../profiles/schneider-iem3155.toml")),
    ("siemens-g120x.toml", include_str!("../../profiles/siemens-g120x.toml")),
    ("siemens-logo8.toml", include_str!("../../profiles/siemens-logo8.toml")),
    ("siemens-pac3200.toml", include_str!("../../profiles/siemens-pac3200.toml")),
    ("sma-tripower.toml", include_str!("../../profiles/sma-tripower.toml")),
    ("socomec-countis-e.toml", include_str!("../../profiles/socomec-countis-e.toml")),
    ("wago-750-ethernet.toml", include_str!("../../profiles/wago-750-ethernet.toml")),
    ("wago-879-3000.toml", include_str!("../../profiles/wago-879-3000.toml")),
];

#[cfg(test)]
mod tests {
    use super::BUILTIN;

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut built_in: Vec<&str> = BUILTIN.iter().map(|(name, _)| *name).collect();
        files.sort();
        built_in.sort_unstable();
        assert_eq!(files, built_in);
    }
}
