//! Sentences of a building site, spoken by a machine, and their words.

use std::io::ErrorKind;

use tokio::process::Command;

use crate::failure::Failure;

/// What people say into a recorder: everyday words, some terms of the trade, few names.
pub(super) const SENTENCES: [&str; 16] = [
    "The concrete for the east footing was poured on Tuesday morning.",
    "We are still waiting for the glass of the patio doors.",
    "The inspector wants to see the fire wall before it is closed.",
    "Please order forty more sheets of drywall for the second floor.",
    "The crane leaves the site on the twelfth of December.",
    "Nobody may use the north stairs until the rail is fixed.",
    "The owner agreed to pay for the extra excavation.",
    "Water came through the roof above the kitchen last night.",
    "The electrician will be back on Monday to finish the panel.",
    "Send the invoice to the office and keep a copy for the file.",
    "The color of the tiles is not the one on the drawing.",
    "All workers have to wear hard hats and safety glasses.",
    "The delivery was two hours late because of the snow.",
    "We need a decision about the floor in the waiting room.",
    "The heating works again, but the filter has to be changed.",
    "Tell the plumber that the sink stands four inches too high.",
];

/// The sentence as sound; none without the program that speaks.
pub(super) async fn spoken(sentence: &str) -> Result<Option<Vec<u8>>, Failure> {
    // What it writes to a pipe has no length in its header.
    let file = tempfile::NamedTempFile::new().map_err(Failure::doing("making a temporary file"))?;
    let mut command = Command::new("espeak-ng");
    command.args(["-v", "en-us", "-s", "140", "-w"]);
    match command.arg(file.path()).arg(sentence).output().await {
        Ok(output) if output.status.success() => {
            let sound = std::fs::read(file.path()).map_err(Failure::doing("reading the sound"))?;
            Ok(Some(sound))
        }
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(Failure::failed(format!("espeak-ng: {why}")))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::doing("espeak-ng")(error)),
    }
}

/// The words of a text, however they are written.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}
