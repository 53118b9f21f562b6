//! The tables themselves: that a row can be read, is alone under its name, and says what it wants.

use std::collections::BTreeSet;

use super::*;

#[test]
fn every_script_can_be_read() {
    for case in cases() {
        case.check().unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert!(
            case.steps().is_none_or(|steps| !steps.contains('{')),
            "{}: a placeholder is left",
            case.name
        );
    }
}

#[test]
fn names_are_unique_and_requirements_are_sentences_with_a_clause() {
    let mut names = BTreeSet::new();
    for case in cases() {
        assert!(names.insert(case.name.clone()), "{} is there twice", case.name);
        assert!(case.requirement.ends_with('.') && !case.requirement.contains("  "), "{}", case.requirement);
        assert!(["SPC-", "SAM-5", "SBC-3", "RFC 7143"].iter().any(|it| case.clause.starts_with(it)));
    }
}

#[test]
fn every_service_action_type_and_command_has_cases() {
    let names: Vec<String> = cases().into_iter().map(|case| case.name).collect();
    let groups: BTreeSet<&str> = names.iter().filter_map(|name| name.split('/').next()).collect();
    let expected = [
        "access",
        "all-tg-pt",
        "aptpl",
        "attention",
        "clear",
        "fence",
        "generation",
        "ignore",
        "in",
        "many",
        "matrix",
        "move",
        "out",
        "preempt",
        "preempt-and-abort",
        "register",
        "release",
        "replace",
        "reserve",
        "reset",
        "second-portal",
        "session",
        "spc-2",
        "spec-i-pt",
        "unregister",
    ];
    assert_eq!(groups.into_iter().collect::<Vec<_>>(), expected);
    for kind in [1, 3, 5, 6, 7, 8] {
        assert!(names.iter().filter(|name| name.contains(&format!("/type-{kind}"))).count() > 150);
    }
}
