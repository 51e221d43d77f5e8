//! Forests of decision trees, checked before the library sees them.
//!
//! The library follows the numbers of a forest without looking where they lead (its `ml/tree.rs`): a class
//! that is not there is written to beyond memory, a circle of nodes is walked for ever, and nodes that are
//! not numbered from 0 are taken for others.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::NodeProto;

const LEAF: &[u8] = b"LEAF";

/// Refuses a forest whose nodes, leaves and classes do not fit together; says what is wrong.
pub(super) fn check(node: &NodeProto) -> Result<(), String> {
    let wrong = |what: String| Err(format!("TreeEnsembleClassifier {what}: export again"));
    let named = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
    let numbers = |name: &str| named(name).map(|attribute| attribute.ints.as_slice()).unwrap_or_default();
    let nodes: Vec<(i64, i64)> =
        numbers("nodes_treeids").iter().copied().zip(numbers("nodes_nodeids").iter().copied()).collect();
    let modes = named("nodes_modes").map(|attribute| attribute.strings.as_slice()).unwrap_or_default();
    let (yes, no) = (numbers("nodes_truenodeids"), numbers("nodes_falsenodeids"));
    if nodes.is_empty() || [modes.len(), yes.len(), no.len()].iter().any(|length| *length != nodes.len()) {
        return wrong("has lists of nodes of different lengths".into());
    }
    let is_leaf: HashMap<_, _> = nodes.iter().copied().zip(modes.iter().map(|mode| mode == LEAF)).collect();
    if is_leaf.len() != nodes.len() {
        return wrong("has two nodes of one number".into());
    }
    // No node is reached twice, and no root is reached: then no walk from a root comes to a circle.
    let mut reached = HashSet::new();
    for (index, (tree, number)) in nodes.iter().enumerate() {
        if *number != 0 && !is_leaf.contains_key(&(*tree, number.wrapping_sub(1))) {
            return wrong(format!("has a tree whose nodes are not numbered from 0 (node {number})"));
        }
        for next in [yes[index], no[index]].into_iter().filter(|_| !is_leaf[&(*tree, *number)]) {
            if next == 0 || !is_leaf.contains_key(&(*tree, next)) || !reached.insert((*tree, next)) {
                return wrong(format!(
                    "leads to node {next} of a tree that is not there, or was reached before"
                ));
            }
        }
    }
    if named("classlabels_strings").is_some() {
        return Err("TreeEnsembleClassifier with classes that are texts (classlabels_strings): fit with classes 0, 1, …".into());
    }
    let classes = numbers("classlabels_int64s").len();
    let leaves = numbers("class_treeids").iter().copied().zip(numbers("class_nodeids").iter().copied());
    if let Some((tree, number)) = leaves.into_iter().find(|leaf| is_leaf.get(leaf) != Some(&true)) {
        return wrong(format!("gives weights to node {number} of tree {tree}, which is no leaf"));
    }
    let is_class = |class: &i64| usize::try_from(*class).is_ok_and(|class| class < classes);
    match numbers("class_ids").iter().find(|class| !is_class(class)) {
        Some(class) => wrong(format!("gives weights to class {class} of {classes}")),
        None if classes < 2 => wrong(format!("has {classes} classes, two are needed at least")),
        None => Ok(()),
    }
}
