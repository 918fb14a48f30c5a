"""The records that pass along the loop: the whole contract between stages.

Each stage reads one record and writes the next. Records are immutable: putting one again under the
same id changes nothing. Times are aware UTC datetimes; money is in the policy's currency.
The rows of the prediction log live outside the metadata store; `stores.predictions` describes them.
"""
