//! Folders of models: every fault is named.

use std::path::Path;

use forebay::infer::folder::Folder;

use crate::support::root;

#[test]
fn every_fault_of_a_folder_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("it is written");
    let faults = |path: &Path| {
        let faults = Folder::read(path).content.expect_err("it is wrong");
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let shipped =
        |name: &str| std::fs::read(root().join("models/press-wear").join(name)).expect("it is shipped");
    let said = faults(folder.path());
    assert_eq!(said.matches("M0001").count(), 3, "{said}");

    let toml = String::from_utf8(shipped("model.toml")).expect("text");
    write("model.toml", toml.replace("window ", "windows ").as_bytes());
    let said = faults(folder.path());
    assert!(said.contains("unknown key `windows`") && said.contains("golden.json: M0001"), "{said}");

    write("model.toml", toml.as_bytes());
    write("model.onnx", &shipped("model.onnx"));
    for (golden, what) in [
        ("{}", "missing field"),
        ("{\"tolerance\": 0.5, \"cases\": []}", "tolerance is 0.5"),
        ("{\"tolerance\": 0.001, \"cases\": []}", "0 cases"),
        ("{\"tolerance\": 0.001, \"cases\": [], \"more\": 1}", "unknown field"),
    ] {
        write("golden.json", golden.as_bytes());
        let said = faults(folder.path());
        assert!(said.contains("golden.json") && said.contains(what), "{said}");
    }
    let golden = String::from_utf8(shipped("golden.json")).expect("text");
    write("golden.json", golden.replacen("[[", "[[1.0, ", 1).as_bytes());
    assert!(faults(folder.path()).contains("does not have 10 rows of 5 inputs"));

    write("golden.json", &shipped("golden.json"));
    write("model.toml", b"\xff\xfe");
    assert!(faults(folder.path()).contains("is not UTF-8"));
    write("model.toml", &vec![b'#'; 70_000]);
    assert!(faults(folder.path()).contains("larger than 65536 bytes"));
}

#[test]
fn two_folders_with_one_model_are_told_apart() {
    let directory = tempfile::tempdir().expect("a folder");
    for name in ["first", "second"] {
        let folder = directory.path().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        for file in ["model.toml", "model.onnx", "golden.json"] {
            std::fs::copy(root().join("models/press-wear").join(file), folder.join(file))
                .expect("it is copied");
        }
    }
    let folders = Folder::all(&[directory.path().to_owned()]);
    assert_eq!(folders.len(), 2, "they stand for the built-in one");
    assert!(folders[0].content.is_ok());
    let fault = folders[1].content.as_ref().expect_err("it is there already")[0].to_string();
    assert!(fault.contains("M0106: model press-wear is in ") && fault.contains("first"), "{fault}");
}
