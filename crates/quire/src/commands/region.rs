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
