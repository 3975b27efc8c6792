//! An Office package: parts in a zip container that name each other through relations.
//!
//! Knows no format of a part; turns what relations say into names of entries, which never leave the
//! container.

use super::archive::{self, Archive};
use super::error::ExtractError;
use super::limits::Limits;
use super::xml;

pub(super) struct Package<'a> {
    archive: Archive<'a>,
}

/// One part pointing at another.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub(super) id: String,
    /// The last word of the relation's type, such as `slide`.
    pub(super) kind: String,
    /// The name of the other part.
    pub(super) target: String,
}

impl<'a> Package<'a> {
    pub(super) fn open(bytes: &'a [u8], limits: &'a Limits) -> Result<Self, ExtractError> {
        Ok(Self {
            archive: Archive::open(bytes, limits)?,
        })
    }

    /// The text of a part, if there is such a part.
    pub(super) fn part(&mut self, name: &str) -> Result<Option<String>, ExtractError> {
        Ok(self.archive.read(name)?.map(|part| xml::text_of(&part)))
    }

    /// The text of a part that has to be there.
    pub(super) fn need(&mut self, name: &str) -> Result<String, ExtractError> {
        self.part(name)?.ok_or_else(|| {
            ExtractError::damaged(archive::FORMAT, format!("the part {name} is missing"))
        })
    }

    /// What a part points at inside the package.
    pub(super) fn relations(&mut self, of: &str) -> Result<Vec<Relation>, ExtractError> {
        let (folder, name) = of.rsplit_once('/').unwrap_or(("", of));
        let Some(xml) = self.part(&format!("{folder}/_rels/{name}.rels"))? else {
            return Ok(Vec::new());
        };
        let mut reader = xml::reader(&xml);
        let mut found = Vec::new();
        loop {
            let element = match xml::next(&mut reader)? {
                quick_xml::events::Event::Start(element) => element,
                quick_xml::events::Event::Eof => return Ok(found),
                _ => continue,
            };
            let get = |name| xml::attribute(&element, name).map(|value| value.into_owned());
            let is_outside = get("TargetMode").is_some_and(|mode| mode == "External");
            if let (Some(id), Some(kind), Some(target), false) =
                (get("Id"), get("Type"), get("Target"), is_outside)
            {
                found.push(Relation {
                    id,
                    kind: kind.rsplit('/').next().unwrap_or_default().to_owned(),
                    target: resolve(folder, &target),
                });
            }
        }
    }

    /// The title that the package gives itself.
    pub(super) fn title(&mut self) -> Result<Option<String>, ExtractError> {
        match self.part("docProps/core.xml")? {
            Some(part) => xml::first_text(&part, "title"),
            None => Ok(None),
        }
    }
}

/// The entry that `target` names, seen from `folder`.
fn resolve(folder: &str, target: &str) -> String {
    if let Some(absolute) = target.strip_prefix('/') {
        return absolute.to_owned();
    }
    let mut path: Vec<&str> = folder.split('/').filter(|step| !step.is_empty()).collect();
    for step in target.split('/') {
        match step {
            "" | "." => {}
            ".." => {
                path.pop();
            }
            step => path.push(step),
        }
    }
    path.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stay_inside_the_package() {
        for (folder, target, entry) in [
            ("ppt", "slides/slide1.xml", "ppt/slides/slide1.xml"),
            (
                "ppt/slides",
                "../notesSlides/n.xml",
                "ppt/notesSlides/n.xml",
            ),
            (
                "xl",
                "/xl/worksheets/sheet1.xml",
                "xl/worksheets/sheet1.xml",
            ),
            ("ppt", "../../../../etc/passwd", "etc/passwd"),
        ] {
            assert_eq!(resolve(folder, target), entry);
        }
    }
}
