//! `quire region`.

use serde_json::json;

use quire_tenancy::placement;

use crate::cli::RegionCommand;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(
    command: &RegionCommand,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    let mut tx = node.store.system().await?;
    let regions = match command {
        RegionCommand::List => placement::regions(&mut tx).await?,
        RegionCommand::Set {
            region,
            name,
            countries,
        } => vec![placement::set_region(&mut tx, region, name, countries).await?],
    };
    for region in &regions {
        let lacks = placement::lacks(&mut tx, &region.id).await?;
        if !lacks.is_empty() {
            output.note(refuses(&region.id, &lacks));
        }
    }
    tx.commit().await?;
    if output.is_json() {
        let regions: Vec<_> = regions
            .iter()
            .map(|region| {
                json!({ "id": region.id, "name": region.name, "countries": region.countries })
            })
            .collect();
        return output.json(&json!({ "regions": regions }));
    }
    let rows: Vec<Vec<String>> = regions
        .into_iter()
        .map(|region| vec![region.id, region.name, region.countries.join(",")])
        .collect();
    output.table(&["region", "name", "countries"], &rows);
    Ok(())
}

/// What to tell of a region that lacks something.
fn refuses(region: &str, lacks: &[&str]) -> String {
    let what_to_do = match lacks.contains(&"shard") {
        true => {
            "the database of this installation is its only shard. To take these customers here, name their countries \
             in the region of the shard; otherwise give them an installation of their own"
        }
        false => "add one with `quire pool add`",
    };
    format!(
        "region '{region}' refuses customers, for it has no {}: {what_to_do}",
        lacks.join(" and no ")
    )
}
