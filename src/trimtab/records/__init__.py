"""The records that the stages of the loop exchange.

Each stage reads records and writes new ones to the metadata store. Records are immutable: writing one again under the
same id changes nothing. Times are aware UTC datetimes; money is in the policy's currency.
The rows of the prediction log are not in the metadata store; `stores.predictions` describes them.
"""
