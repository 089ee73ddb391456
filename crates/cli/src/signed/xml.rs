//! The answers of the query protocol.

use roxmltree::{Document, Node};

/// An element with its text and the elements in it. Names are without their namespace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// A document's root; `None` if it is not well-formed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Document::parse(text).ok().map(|document| Self::of(document.root_element()))
    }

    fn of(node: Node<'_, '_>) -> Self {
        Self {
            name: node.tag_name().name().to_owned(),
            text: node.text().unwrap_or_default().trim().to_owned(),
            children: node.children().filter(Node::is_element).map(Self::of).collect(),
        }
    }

    /// Every element at a path below this one, such as `DescribeStacksResult/Stacks/member`.
    pub(crate) fn all(&self, path: &str) -> Vec<&Element> {
        path.split('/').fold(vec![self], |here, name| {
            here.iter().flat_map(|element| element.children.iter().filter(|child| child.name == name)).collect()
        })
    }

    /// The text of this element.
    pub(crate) fn content(&self) -> &str {
        &self.text
    }

    /// The text of the first element at a path; `None` without one, or without a text in it.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.all(path).first().map(|element| element.text.as_str()).filter(|text| !text.is_empty())
    }
}
