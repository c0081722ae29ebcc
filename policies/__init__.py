"""The compliance rules: functions over a graph of resources, and the CrossGuard pack that runs them in the engine.

Importing this package starts nothing. `registry.RULES` lists the rules, `rule.evaluate` runs them over a `graph.Graph`,
and `pulumi preview --policy-pack policies` runs them in Pulumi's engine through `pack`.
"""
