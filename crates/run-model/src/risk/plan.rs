//! The risk of a plan, before anything is changed.

use super::change::PathClass;
use super::{Risk, RiskLevel, RiskReason};
use crate::plan::Plan;

/// The risk of a plan: low, so that it passes alone, unless it means to touch what is protected or somebody sees a high risk.
/// A medium hint says no more than what holds for every code change, and that has a gate of its own.
/// `classify` gets each path or glob as the plan spells it.
pub fn assess_plan(plan: &Plan, classify: &dyn Fn(&str) -> PathClass) -> Risk {
    let tasks = plan.tasks.len();
    let mut reasons = vec![RiskReason::new(
        RiskLevel::Low,
        "plan",
        format!("{tasks} tasks; the change is looked at before it lands"),
    )];
    let named = |speaks: &dyn Fn(PathClass) -> bool| {
        let paths = plan.tasks.iter().flat_map(|task| &task.paths).map(String::as_str);
        paths.filter(|path| speaks(classify(path))).collect::<Vec<_>>().join(", ")
    };
    for (rule, paths) in
        [("protected path", named(&|class| class.protected)), ("dependencies", named(&|class| class.manifest))]
    {
        if !paths.is_empty() {
            reasons.push(RiskReason::new(RiskLevel::Critical, rule, format!("the plan means to touch {paths}")));
        }
    }
    if let Some(level) = plan.risk_hint.filter(|level| *level >= RiskLevel::High) {
        reasons.push(RiskReason::new(level, "hint", format!("the orchestrator sees {} risk", level.as_str())));
    }
    Risk::of(reasons)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn level(path: &str, hint: Option<&str>) -> RiskLevel {
        let task = json!({"id": "a", "title": "t", "description": "d", "role": "developer", "paths": [path]});
        let plan = serde_json::from_value(json!({"summary": "s", "tasks": [task], "risk_hint": hint})).unwrap();
        let classify = |path: &str| PathClass {
            protected: path.starts_with(".github"),
            manifest: path.ends_with("Cargo.toml"),
            ..PathClass::default()
        };
        assess_plan(&plan, &classify).level
    }

    #[test]
    fn a_plan_passes_alone_unless_it_means_to_touch_what_is_protected() {
        assert_eq!(level("src/**", None), RiskLevel::Low);
        assert_eq!(level(".github/workflows/*", None), RiskLevel::Critical);
        assert_eq!(level("Cargo.toml", Some("low")), RiskLevel::Critical);
    }

    #[test]
    fn a_high_hint_raises_a_plan() {
        assert_eq!(level("src/**", Some("medium")), RiskLevel::Low);
        assert_eq!(level("src/**", Some("high")), RiskLevel::High);
    }
}
