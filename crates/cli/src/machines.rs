//! The state machines, as they are deployed, with this machine's names substituted.

use embedded_cloud::{ACCOUNT, REGION};

use crate::registry::FUNCTIONS;

const MACHINES: [(&str, &str); 3] = [
    ("pipeline", include_str!("../../../state-machines/pipeline.asl.json")),
    ("task-graph", include_str!("../../../state-machines/task-graph.asl.json")),
    ("task", include_str!("../../../state-machines/task.asl.json")),
];

/// Name and definition of every machine.
pub(crate) fn definitions() -> Vec<(String, String)> {
    MACHINES.iter().map(|(name, text)| ((*name).to_owned(), substitute(text))).collect()
}

/// The ARN of a machine on this machine's cloud.
pub(crate) fn machine_arn(name: &str) -> String {
    format!("arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{name}")
}

/// The ARNs of every machine, callers first.
pub(crate) fn arns() -> Vec<String> {
    MACHINES.iter().map(|(name, _)| machine_arn(name)).collect()
}

/// The ARN of an execution of `pipeline`.
pub(crate) fn execution_arn(name: &str) -> String {
    format!("arn:aws:states:{REGION}:{ACCOUNT}:execution:pipeline:{name}")
}

/// The name of the execution that bears this ARN.
pub(crate) fn name_of(execution_arn: &str) -> &str {
    execution_arn.rsplit(':').next().unwrap_or_default()
}

fn substitute(text: &str) -> String {
    let functions = FUNCTIONS.iter().map(|name| (*name, format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}")));
    let machines = MACHINES.iter().map(|(name, _)| (*name, machine_arn(name)));
    functions
        .chain(machines)
        .fold(text.to_owned(), |text, (name, arn)| text.replace(&format!("${{{}}}", name.replace('-', "_")), &arn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_substitute() {
        for (name, text) in definitions() {
            assert!(!text.contains("${"), "{name}");
        }
    }
}
