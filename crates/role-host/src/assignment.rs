//! What the loop asks about the work: paths, outputs, checks.

use agent::{Assignment, PathKind};
use config::PathRules;
use run_model::change_set::Overlay;
use run_model::evidence::Purpose;
use run_model::risk::configures_checks;
use run_model::{RepoPath, Sha256};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::opening::without_borders;
use crate::{Definition, Material, evidence_text};

/// An output as the type it must have.
///
/// # Errors
/// What does not fit, in words for the model: identifiers and paths have rules that a schema does not know.
pub fn typed<T: DeserializeOwned>(output: &Value) -> Result<T, String> {
    T::deserialize(output).map_err(|problem| problem.to_string())
}

/// One session's work.
pub(crate) struct Desk<'a> {
    pub(crate) definition: &'a Definition,
    pub(crate) material: &'a Material,
    pub(crate) rules: PathRules,
}

impl Assignment for Desk<'_> {
    fn path_kind(&self, path: &RepoPath) -> PathKind {
        match path.as_str() {
            path if self.rules.is_protected(path) => PathKind::Protected,
            // Under a test folder too, such a file decides what its tests show.
            path if self.rules.is_test(path) && !configures_checks(path) => PathKind::Test,
            _ => PathKind::Source,
        }
    }

    fn accept(&self, output: &Value, edits: &Overlay) -> Result<(), String> {
        (self.definition.accept)(output, self.material, edits)
    }

    fn checks(&self, edits: &Overlay) -> Option<String> {
        let evidence = self.material.brought.as_ref().filter(|evidence| evidence.purpose == Purpose::Session)?;
        let tree = self.material.with(edits);
        let expected = (!tree.is_empty()).then(|| Sha256::of_json(&tree));
        (evidence.overlay_sha256 == expected)
            .then(|| without_borders(&evidence_text::measured(evidence, self.material.base_evidence.as_ref())))
    }
}

#[cfg(test)]
mod tests {
    use agent::{Role, ToolKind, Writes};
    use run_model::change_set::Edit;
    use run_model::evidence::Evidence;

    use super::*;
    use crate::evidence_text::tests::evidence;
    use crate::opening::tests::material;

    const DEFINITION: Definition = Definition {
        role: Role {
            name: "developer",
            prompt: "",
            tools: ToolKind::ALL,
            writes: Writes::Source,
            output_schema: || Value::Bool(true),
        },
        sections: &[],
        accept: |_, _, edits| if edits.is_empty() { Err("nothing was changed".into()) } else { Ok(()) },
    };

    fn desk(material: &Material) -> Desk<'_> {
        Desk { definition: &DEFINITION, material, rules: PathRules::new(&material.config).unwrap() }
    }

    fn edits(path: &str, content: &str) -> Overlay {
        Overlay([(RepoPath::new(path).unwrap(), Edit::Write(content.into()))].into())
    }

    #[test]
    fn paths_are_told_apart_by_the_settings() {
        let (_folder, material) = material();
        let kind = |path: &str| desk(&material).path_kind(&RepoPath::new(path).unwrap());
        assert_eq!(kind(".github/workflows/ci.yml"), PathKind::Protected);
        assert_eq!(kind("tests/a.rs"), PathKind::Test);
        assert_eq!(kind("src/lib.rs"), PathKind::Source);
        assert_eq!(kind("tests/conftest.py"), PathKind::Source, "it decides what tests show, and no tester writes it");
        assert_eq!(kind("tests/.npmrc"), PathKind::Protected);
    }

    #[test]
    fn results_count_only_for_the_state_they_were_measured_on() {
        let (_folder, mut material) = material();
        let now = edits("src/new.rs", "n\n");
        let measured_on = |purpose, overlay: &Overlay| Evidence {
            overlay_sha256: Some(Sha256::of_json(overlay)),
            ..evidence(purpose, 0, &[], "")
        };
        material.brought = Some(measured_on(Purpose::Session, &material.with(&now)));
        assert!(desk(&material).checks(&now).unwrap().contains("check `test`"));
        assert_eq!(desk(&material).checks(&edits("src/new.rs", "other\n")), None);
        material.brought = Some(measured_on(Purpose::Task, &material.with(&now)));
        assert_eq!(desk(&material).checks(&now), None, "measured for another purpose");
    }

    #[test]
    fn results_on_the_untouched_base_have_no_overlay() {
        let (_folder, mut material) = material();
        material.tree.given = Overlay::default();
        material.brought = Some(evidence(Purpose::Session, 0, &[], ""));
        assert!(desk(&material).checks(&Overlay::default()).is_some());
        assert_eq!(desk(&material).checks(&edits("a", "x")), None);
    }

    #[test]
    fn a_task_is_unchanged_while_only_earlier_tasks_have_edits() {
        let (_folder, mut material) = material();
        assert!(!material.unchanged_by(&Overlay::default()));
        material.tree.given = material.earlier.clone();
        assert!(material.unchanged_by(&Overlay::default()));
        assert!(material.unchanged_by(&edits("src/lib.rs", "one\ntwo\nthree\n")), "written as it was");
        assert!(!material.unchanged_by(&edits("src/lib.rs", "1\n")));
    }

    #[test]
    fn an_output_of_the_wrong_type_is_told_in_words() {
        let plan = serde_json::json!({"summary": "s", "tasks": [
            {"id": "Not Good", "title": "t", "description": "d", "role": "developer"}
        ]});
        let problem = typed::<run_model::plan::Plan>(&plan).unwrap_err();
        assert!(problem.contains("\"Not Good\" is not a task id"), "{problem}");
    }

    #[test]
    fn the_role_judges_its_own_output() {
        let (_folder, material) = material();
        assert!(desk(&material).accept(&Value::Null, &Overlay::default()).is_err());
        assert!(desk(&material).accept(&Value::Null, &edits("a", "x")).is_ok());
    }
}
